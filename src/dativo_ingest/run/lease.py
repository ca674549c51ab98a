"""A run's leases: one for each of its streams, so that two runners of a job normally never meet.

A lease is politeness and saves work. What keeps two runs from landing the same rows is the fence at the commit: where
no lease can be kept, because the folder cannot be written, a run warns and goes on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from dativo_ingest.run.lease_store import Holder, LeaseStore, Owner
from dativo_plugin_sdk.errors import ConcurrencyError, DativoError, FencedError

_BEATS = 3  # heartbeats in the time that a lease lives: one may be late
_ASK_AGAIN_S = 0.5
_LOOK_UP_S = 0.1  # between two looks at whether to stop waiting


def lease_key(job: str, stream: str) -> str:
    """Name a stream's lease."""
    return f"{job}/{stream}"


class Leases:
    """The leases of one run, renewed by a thread as long as they are held; a context that gives them back.

    Args:
        store: Where leases are kept.
        owner: The run.
        ttl_s: How long a lease lives without being renewed.
    """

    def __init__(self, store: LeaseStore, owner: Owner, *, ttl_s: float) -> None:
        self._store = store
        self._owner = owner
        self._ttl_s = ttl_s
        self._held: set[str] = set()
        self._lost: dict[str, Holder] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.warning: str | None = None
        """Why there are no leases, where there are none."""

    def take(
        self,
        keys: Sequence[str],
        *,
        wait_s: float = 0.0,
        steal: bool = False,
        stop: threading.Event | None = None,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> bool:
        """Take all leases at once; may be called once.

        Args:
            keys: The leases.
            wait_s: How long to wait for other runs that hold them; infinity waits for as long as it takes.
            steal: Take them over from whoever holds them.
            stop: Ends waiting.
            tell: Told whom it waits for.

        Returns:
            False where ``stop`` was set before they were had.

        Raises:
            ConcurrencyError: Another run still holds one of them.
        """
        began_s = time.monotonic()
        stop = stop or threading.Event()
        told: str | None = None
        while True:
            try:
                holder = self._store.take(keys, self._owner, ttl_s=self._ttl_s, steal=steal)
            except DativoError as error:
                self.warning = f"no lease was taken, only the commit's fence keeps a second run apart: {error}"
                return True
            if holder is None:
                break
            waited_s = time.monotonic() - began_s
            if waited_s >= wait_s:
                raise _held(holder, waited_s if wait_s else None)
            if told != holder.owner.run_id:
                told = holder.owner.run_id
                tell(f"waiting for {_described(holder)}")
            if _slept(min(_ASK_AGAIN_S, wait_s - waited_s), stop):
                return False
        self._held = set(keys)
        self._thread = threading.Thread(target=self._beat, name="lease heartbeat", daemon=True)
        self._thread.start()
        return True

    def check(self, key: str) -> None:
        """See that no heartbeat has found the lease with another run.

        Raises:
            FencedError: One has.
        """
        holder = self._lost.get(key)
        if holder is not None:
            raise FencedError(
                f"{key}: {_described(holder)} has taken over; nothing of this run landed",
                details=_details(holder),
                hint="the other run goes on from the last commit; this one need not be repeated",
            )

    def confirm(self, key: str) -> None:
        """Look at the store that the lease is still this run's, as before a commit.

        Raises:
            FencedError: It is another's.
        """
        self._renew()
        self.check(key)

    def release(self, key: str) -> None:
        """Give one lease back."""
        with self._lock:
            if key not in self._held:
                return
            self._held.discard(key)
            with contextlib.suppress(DativoError):  # it expires by itself
                self._store.release([key], self._owner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        for key in sorted(self._held):
            self.release(key)

    def _beat(self) -> None:
        while not self._closing.wait(self._ttl_s / _BEATS):
            self._renew()

    def _renew(self) -> None:
        with self._lock, contextlib.suppress(DativoError):  # a heartbeat that fails is made up for by the next one
            if self._held:
                for holder in self._store.renew(sorted(self._held), self._owner, ttl_s=self._ttl_s):
                    self._lost[holder.key] = holder
                    self._held.discard(holder.key)


def _slept(seconds: float, stop: threading.Event) -> bool:
    """Sleep, unless told to stop; say whether that was.

    Not `Event.wait`, whose lock a signal handler that sets the event would wait for in this very thread.
    """
    until_s = time.monotonic() + seconds
    while not stop.is_set():
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(left_s, _LOOK_UP_S))
    return True


def _held(holder: Holder, waited_s: float | None) -> ConcurrencyError:
    waited = "" if waited_s is None else f"; waited {waited_s:.0f} s"
    return ConcurrencyError(
        f"{holder.key} is held by {_described(holder)}{waited}",
        details=_details(holder),
        hint="try again when it is done; --wait waits for it, --steal takes over from a run that hangs",
    )


def _described(holder: Holder) -> str:
    owner = holder.owner
    return (
        f"run {owner.run_id} on {owner.host}, process {owner.pid}, begun {holder.age_s:.0f} s ago, "
        f"last heard of {holder.silent_s:.0f} s ago"
    )


def _details(holder: Holder) -> dict[str, object]:
    owner = holder.owner
    return {
        "key": holder.key,
        "run_id": owner.run_id,
        "host": owner.host,
        "pid": owner.pid,
        "age_s": round(holder.age_s),
        "silent_s": round(holder.silent_s),
    }
