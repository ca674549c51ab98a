"""A streaming replica of a test server."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from postgres_service import Postgres, flags
from server_processes import free_port, give_away, server_folder, start

_READY_S = 60.0


@contextmanager
def replica(primary: Postgres, **settings: str) -> Iterator[Postgres]:
    """Start a hot standby of a server, out of the wheel that it is from.

    Args:
        primary: The server.
        settings: The replica's settings beside the usual ones.
    """
    with server_folder("replica") as folder:
        data = folder / "data"
        data.mkdir(mode=0o700)
        give_away(data)
        password = {"PGPASSWORD": primary.password}
        copy = [str(primary.software / "pg_basebackup"), "-D", str(data), "-R", "-c", "fast", "--no-sync"]
        where = ["-h", primary.host, "-p", str(primary.port), "-U", primary.user]
        done = start([*copy, *where], data, subprocess.PIPE, end_by=signal.SIGQUIT, environment=password)
        output, _ = done.communicate()
        if done.returncode:
            raise RuntimeError(f"pg_basebackup failed: {output.decode(errors='replace')}")
        server = dataclasses.replace(primary, port=free_port(), data=data)
        with (folder / "log.txt").open("wb") as log:
            command = [str(primary.software / "postgres"), "-D", str(data), *flags(server.port, settings)]
            process = start(command, data, log, end_by=signal.SIGQUIT)
        try:
            _wait(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait()


def catch_up(primary: Postgres, standby: Postgres) -> None:
    """Wait until the replica shows all that the primary has written so far."""
    ((written,),) = primary.ask("SELECT pg_current_wal_insert_lsn()")
    deadline_s = time.monotonic() + _READY_S
    while not standby.ask(f"SELECT pg_last_wal_replay_lsn() >= '{written}'")[0][0]:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def _wait(server: Postgres, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + _READY_S
    while True:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return
