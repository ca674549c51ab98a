"""Which process of a writer plugin serves which stream: one that has written for a stream serves no other."""

from __future__ import annotations

from collections.abc import Callable

from dativo_ingest.plugin_process.conversation import Conversation


class Processes:
    """The processes of one plugin during one run.

    Args:
        start: Makes one that is ready to be asked.
    """

    def __init__(self, start: Callable[[], Conversation]) -> None:
        self._start = start
        self._spare: Conversation | None = None
        self._seats: list[Seat] = []

    def spare(self) -> Conversation:
        """Give one that serves no stream yet; the stream that comes next has it."""
        if self._spare is None or self._spare.is_over:
            self._spare = self._start()
        return self._spare

    def seat(self) -> Seat:
        """Make a stream's place in a process; none is started yet."""
        seat = Seat(self)
        self._seats.append(seat)
        return seat

    def close(self) -> None:
        """End them all; may be called twice."""
        while self._seats:
            self._seats.pop().leave()
        if self._spare is not None:
            self._spare.stop()
            self._spare = None

    def take(self) -> Conversation:
        """Give a process to a stream; those that are done with theirs leave it first."""
        for seat in list(self._seats):
            if not seat.is_busy:
                seat.leave()
        process = self.spare()
        self._spare = None
        return process

    def give_back(self, process: Conversation) -> None:
        """Take a process that may serve another stream."""
        if self._spare is None and not process.is_over:
            self._spare = process
        else:
            process.stop()

    def forget(self, seat: Seat) -> None:
        """Take note that a stream needs no place any more."""
        if seat in self._seats:
            self._seats.remove(seat)


class Seat:
    """A stream's place in a process: from the moment it needs one, until it leaves.

    Attributes:
        is_busy: Whether something of the stream is in the process that another one would not have: it stays, alive or
            not.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._process: Conversation | None = None
        self._is_used = False
        self.is_busy = False

    @property
    def process(self) -> Conversation:
        """The process; another one where it has ended with nothing of the stream in it."""
        if self._process is None or (self._process.is_over and not self.is_busy):
            self.leave()
            self._process = self._processes.take()
        return self._process

    @property
    def held(self) -> Conversation | None:
        """The process, where there is one."""
        return self._process

    def begin(self) -> None:
        """Take note that the stream's rows come into the process."""
        self.is_busy = self._is_used = True

    def rest(self) -> None:
        """Take note that nothing is in it any more that has not landed."""
        self.is_busy = False

    def leave(self) -> None:
        """Leave the process, which ends where it has written; may be called twice."""
        process, self._process = self._process, None
        if process is not None and self._is_used:
            process.stop()
        elif process is not None:
            self._processes.give_back(process)
        self.is_busy = self._is_used = False
