"""Which runs are at work on a table, and what dead ones left behind.

A run holds a lock on a file of its own, ``_manifests/<token>.run``, from its first data file to its end. The kernel
lets go of the lock when the process dies, however it dies, so a file whose lock can be had is a dead run's: its data
files that no manifest lists are removed, and nobody else's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from dativo_ingest.targets import parquet_manifest
from dativo_ingest.targets.filesystem import make_folder, translated

_SUFFIX = ".run"


class RunLock:
    """A run's hold on its token; ``release`` may be called twice."""

    def __init__(self, token: str, path: Path, descriptor: int) -> None:
        self.token = token
        self._path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, table: Path, run_id: str) -> RunLock:
        """Take a token that begins with the run's id and that no live file has.

        Several streams of one run may write one table, at once or one after the other: each gets a token of its own.
        """
        folder = table / parquet_manifest.FOLDER
        make_folder(folder)
        for number in count(1):
            token = run_id if number == 1 else f"{run_id}.{number}"
            path = folder / f"{token}{_SUFFIX}"
            with translated(path):
                descriptor = _lock(path, create=True)
            if descriptor is None:
                continue
            lock = cls(token, path, descriptor)
            manifest = parquet_manifest.latest(table)  # read under the lock: nobody else can add files of this token
            if not any(_is_of(Path(file.path).name, token) for file in (*manifest.files, *manifest.quarantine)):
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


def sweep(table: Path, quarantine: Path) -> list[Path]:
    """Remove what dead runs left in both folders; give what was removed."""
    folder = table / parquet_manifest.FOLDER
    marks = sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []
    removed: list[Path] = []
    for mark in marks:
        with translated(mark), _locked(mark) as dead:
            if dead:
                removed += _sweep_run(table, quarantine, mark.name.removesuffix(_SUFFIX))
                mark.unlink(missing_ok=True)
    return removed


def stranger(table: Path) -> Path | None:
    """Find a Parquet file in a folder that has no manifest yet, other than those of runs at work."""
    if parquet_manifest.numbers(table):
        return None
    tokens = [mark.name.removesuffix(_SUFFIX) for mark in (table / parquet_manifest.FOLDER).glob(f"*{_SUFFIX}")]
    for folder, _, names in os.walk(table):
        for name in names:
            if name.endswith(".parquet") and not any(_is_of(name, token) for token in tokens):
                return Path(folder, name)
    return None


def _sweep_run(table: Path, quarantine: Path, token: str) -> Iterator[Path]:
    # Read after the lock was had: the run is dead, so nothing of it can be committed any more.
    manifest = parquet_manifest.latest(table)
    live = {table / file.path for file in manifest.files} | {quarantine / file.path for file in manifest.quarantine}
    for top in (table, quarantine):
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                if _is_of(name, token) and path not in live:
                    path.unlink(missing_ok=True)
                    yield path


def _is_of(name: str, token: str) -> bool:
    """Say whether a file is a data file or a draft of the run, by its name alone."""
    plain = name.removeprefix(".").removesuffix(".part")
    if plain == f"{token}.json" and name.startswith("."):
        return True
    number = plain.removeprefix(f"{token}-").removesuffix(".parquet")
    return plain == f"{token}-{number}.parquet" and number.isdigit()


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
