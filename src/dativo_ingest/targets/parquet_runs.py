"""Which runs of this machine are at work on a table, and what dead ones left behind.

A run holds a lock on a file of its own, ``_manifests/<token>.run``, from its first data file to its end. The kernel
lets go of the lock when the process dies, however it dies, so a file whose lock can be had is a dead run's: its data
files that no manifest lists are removed, and nobody else's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from dativo_ingest.targets.filesystem import make_folder, translated
from dativo_ingest.targets.parquet_manifest import Manifest
from dativo_ingest.targets.parquet_storage import MANIFESTS, Run, is_of

_SUFFIX = ".run"


class RunLock(Run):
    """A run's hold on its token; ``release`` may be called twice."""

    def __init__(self, token: str, path: Path, descriptor: int) -> None:
        self.token = token
        self._path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, table: Path, run_id: str, latest: Callable[[], Manifest]) -> RunLock:
        """Take a token that begins with the run's id and that no live file has."""
        folder = table / MANIFESTS
        make_folder(folder)
        for number in count(1):
            token = run_id if number == 1 else f"{run_id}.{number}"
            path = folder / f"{token}{_SUFFIX}"
            with translated(path):
                descriptor = _lock(path, create=True)
            if descriptor is None:
                continue
            lock = cls(token, path, descriptor)
            manifest = latest()  # read under the lock: nobody else can add files of this token
            if not any(is_of(Path(file.path).name, token) for file in (*manifest.files, *manifest.quarantine)):
                return lock
            lock.release()
        raise AssertionError  # there is always one more number

    def release(self, *, keep_mark: bool = False) -> None:
        """Say that the run is over; ``keep_mark`` leaves its files to the judgement of the next run."""
        if self._descriptor is None:
            return
        if not keep_mark:
            with translated(self._path):
                self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def sweep(table: Path, quarantine: Path, latest: Callable[[], Manifest]) -> None:
    """Remove what dead runs left in both folders."""
    folder = table / MANIFESTS
    marks = sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []
    for mark in marks:
        with translated(mark), _locked(mark) as dead:
            if dead:
                # Read after the lock was had: the run is dead, so nothing of it can be committed any more.
                _sweep_run(table, quarantine, mark.name.removesuffix(_SUFFIX), latest())
                mark.unlink(missing_ok=True)


def stranger(table: Path) -> str | None:
    """Find a Parquet file that is none of runs at work."""
    tokens = [mark.name.removesuffix(_SUFFIX) for mark in (table / MANIFESTS).glob(f"*{_SUFFIX}")]
    for folder, _, names in os.walk(table):
        for name in names:
            if name.endswith(".parquet") and not any(is_of(name, token) for token in tokens):
                return str(Path(folder, name))
    return None


def _sweep_run(table: Path, quarantine: Path, token: str, manifest: Manifest) -> None:
    live = {table / file.path for file in manifest.files} | {quarantine / file.path for file in manifest.quarantine}
    for top in (table, quarantine):
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                if is_of(name, token) and path not in live:
                    path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(mark: Path) -> Iterator[bool]:
    descriptor = _lock(mark, create=False)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(path: Path, *, create: bool) -> int | None:
    """Lock the file that has this name now; None where somebody holds it, or it is gone and not to be made."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass  # removed between the two: look again
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
