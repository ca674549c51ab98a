"""Programs out of Debian's packages, unpacked beside the repository's other tools and not installed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TOOLS = Path(__file__).parents[2] / ".tools" / "debian"
_FETCH_S = 240
_MOST_CHARACTERS = 100


def unpacked(*packages: str) -> Path:
    """Give the folder that holds what is in the packages, as it would lie under ``/``.

    They are fetched with apt the first time; the folder stays, for all test workers. Nothing outside of it is touched,
    nothing is installed and no script of a package runs, which is why libraries that may be missing have to be named
    too.

    Raises:
        RuntimeError: apt does not get them; the message has what it said.
    """
    wanted = "_".join(packages)
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    folder = _TOOLS / (wanted if len(wanted) < _MOST_CHARACTERS else f"{packages[0]}_{digest}")
    with _locked():
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=_TOOLS) as place:
                _unpack(packages, Path(place))
                (Path(place) / "root").rename(folder)
    return folder


def library_path(folder: Path) -> str:
    """Give what ``LD_LIBRARY_PATH`` must be for programs of an unpacked folder."""
    return ":".join(str(each) for part in ("usr/lib", "lib") for each in folder.glob(f"{part}/*-linux-gnu*"))


@contextmanager
def _locked() -> Iterator[None]:
    _TOOLS.mkdir(parents=True, exist_ok=True)
    with (_TOOLS / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpack(packages: tuple[str, ...], place: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise RuntimeError(f"{', '.join(packages)}: this machine has no apt-get and dpkg-deb to get them with")
    _download(packages, place)
    root = place / "root"
    root.mkdir()
    for package in place.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(root)], check=True)
    root.chmod(0o755)


def _download(packages: tuple[str, ...], place: Path) -> None:
    """Fetch by the machine's lists of packages; where these are missing or too old, by fresh ones of our own."""
    said = _apt(place, "download", *packages)
    if said is None:
        return
    lists = _TOOLS / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={place / 'cache'}"]
    said = _apt(place, *own, "update") or _apt(place, *own, "download", *packages)
    if said is not None:
        raise RuntimeError(f"apt does not get {', '.join(packages)}: {said}")


def _apt(place: Path, *arguments: str) -> str | None:
    """Run apt-get there; give what it said where it failed."""
    command = ["apt-get", "--quiet", "-o", "APT::Sandbox::User=root", *arguments]
    done = subprocess.run(
        command,
        cwd=place,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=_FETCH_S,
        check=False,
    )
    return None if done.returncode == 0 else f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-2000:]}"
