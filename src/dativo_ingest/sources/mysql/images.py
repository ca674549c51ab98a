"""One consistent image of a database in several sessions, taken without keeping anybody from writing.

A server cannot hand an image on to another session (there is no exported snapshot), so each session takes one of its
own, all at the same moment, and then it is proven that they are the same; where it cannot be, they try again. Either
proves it:

- MariaDB tells each session the position in the binary log at which its image was taken, and takes images while no
  transaction is in the midst of becoming visible. Images of one position have the same transactions. That holds for
  all that is logged; so a replica that does not log what it applies, and has images between two of its transactions,
  is left to the other proof.
- InnoDB tells of each image from which transaction on it sees nothing (it had not begun or not committed by then), and
  up to which it sees all. Where the two numbers are one, no transaction was open that had written anything; where that
  number is the same for all sessions, none began or committed between them, for either takes the next number. The user
  needs the right PROCESS to see it.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Sequence
from typing import Any

import pymysql
from pymysql.constants import COMMAND

from dativo_ingest.mysql.sessions import Session, ask, let_go, run

_TAKE = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
_TRIES_S = 5.0
_LOOK_EVERY_S = 0.5
_PAUSE_S = (0.0, 0.05)
_NEEDS_PROCESS = 1227
_TRANSACTION = re.compile(r"^---TRANSACTION ", re.MULTILINE)
_THREAD = re.compile(r"^(?:MariaDB|MySQL) thread id (\d+),", re.MULTILINE)
_VIEW = re.compile(r"^Trx read view will not see trx with id >= (\d+), sees < (\d+)", re.MULTILINE)


class ImageGoneError(Exception):
    """No session is left that sees the image."""


class Image:
    """Sessions that see one image; each is lent to one reader at a time."""

    def __init__(self, sessions: Sequence[Session], stop: threading.Event) -> None:
        self._stop = stop
        self._idle = list(sessions)
        self._alive = len(self._idle)
        self._changed = threading.Condition()

    def lend(self) -> Session:
        """Give a session that nobody else has, when there is one.

        Raises:
            ImageGoneError: None is left.
        """
        with self._changed:
            while not self._idle:
                if not self._alive or self._stop.is_set():
                    raise ImageGoneError
                self._changed.wait(_LOOK_EVERY_S)
            return self._idle.pop()

    def take_back(self, session: Session) -> None:
        """Take a session that can be used again."""
        with self._changed:
            self._idle.append(session)
            self._changed.notify()

    def lose(self, session: Session) -> None:
        """Let go of a session that is in the midst of something, or broken."""
        let_go(session)
        with self._changed:
            self._alive -= 1
            self._changed.notify_all()


def begin_image(sessions: Sequence[Session], table: str | None) -> str | None:
    """Begin a transaction in each session, such that all see one image.

    From then on nobody can change the table's definition, or empty it with TRUNCATE, until the transactions end: an
    image does not outlast that. Reading and writing go on.

    Args:
        sessions: With no transaction under way.
        table: What is read, quoted; None for a query.

    Returns:
        None where it is so; else why it could not be, and then no transaction is under way.
    """
    if len(sessions) == 1:
        run(sessions[0], _TAKE)
    else:
        why = _begin_together(sessions)
        if why is not None:
            return why
    if table is not None:
        for session in sessions:
            run(session, f"SELECT 1 FROM {table} LIMIT 0")  # noqa: S608  a name of the catalog
    return None


def _begin_together(sessions: Sequence[Session]) -> str | None:
    by_log = _log_tells(sessions[0])
    by_status = True
    until_s = time.monotonic() + _TRIES_S
    while time.monotonic() < until_s:
        _at_once(sessions, _TAKE)
        if by_log and len({_log_position(session) for session in sessions}) == 1:
            return None
        if by_status:
            try:
                views = _views(sessions)
            except pymysql.err.OperationalError as error:
                if error.args[0] != _NEEDS_PROCESS:
                    raise
                by_status = False
            else:
                if len(views) == 1 and all(below == up_to for below, up_to in views):
                    return None
        _at_once(sessions, "ROLLBACK")
        if not (by_log or by_status):
            return "the user may not see transactions (GRANT PROCESS ON *.*), and no binary log tells of them"
        time.sleep(random.uniform(*_PAUSE_S))  # noqa: S311  to meet a moment between two transactions
    return f"for {_TRIES_S:g} s transactions came and went between the sessions' images"


def _at_once(sessions: Sequence[Session], statement: str) -> None:
    """Run a statement in all sessions, at as nearly one time as can be."""
    each: Any
    for each in sessions:
        each._execute_command(COMMAND.COM_QUERY, statement)  # noqa: SLF001  sends without waiting for the answer
    for each in sessions:
        each._read_query_result()  # noqa: SLF001


def _log_tells(session: Session) -> bool:
    """Say whether all that becomes visible is in the binary log."""
    if not session.server.is_mariadb or not _log_position(session)[0]:
        return False
    variables = dict(ask(session, "SHOW VARIABLES WHERE Variable_name IN ('log_slave_updates', 'wsrep_on')"))
    applies = str(dict(ask(session, "SHOW GLOBAL STATUS LIKE 'Slaves_running'")).get("Slaves_running", "0")) != "0"
    is_cluster = variables.get("wsrep_on") == "ON"
    return variables.get("log_slave_updates") == "ON" or not (applies or is_cluster)


def _log_position(session: Session) -> tuple[str, str]:
    found = dict(ask(session, "SHOW SESSION STATUS LIKE 'Binlog_snapshot_%'"))
    return str(found.get("Binlog_snapshot_file", "")), str(found.get("Binlog_snapshot_position", ""))


def _views(sessions: Sequence[Session]) -> set[tuple[str, str]]:
    """Give what InnoDB tells of the sessions' images; an image that it does not tell of stands for itself."""
    ((*_, status),) = ask(sessions[0], "SHOW ENGINE INNODB STATUS")
    told = views_of(str(status))
    return {told.get(session.number, (f"of {session.number}", "")) for session in sessions}


def views_of(status: str) -> dict[int, tuple[str, str]]:
    """Find, by session, from which transaction on its image shows nothing, and up to which it shows all."""
    found = {}
    for part in _TRANSACTION.split(status)[1:]:
        thread, view = _THREAD.search(part), _VIEW.search(part)
        if thread is not None and view is not None:
            found[int(thread[1])] = (view[1], view[2])
    return found
