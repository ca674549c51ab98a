"""C programs of the examples, built with whatever compiler there is."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from debian import unpacked

_WARNINGS = ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Werror")


def built(folder: Path, into: Path) -> Path:
    """Copy an example's folder and build its ``reader`` there; give the copy.

    Where the machine has no compiler, it is tcc, unpacked from Debian's packages with the headers of the C library.
    """
    copy = into / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("reader"))
    compiler = next((each for each in ("cc", "gcc", "clang") if shutil.which(each)), None)
    command = ["make", "--silent", f"CC={compiler}"] if compiler and shutil.which("make") else tcc(copy)
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return copy


def tcc(folder: Path) -> list[str]:
    """Give the command that builds it with tcc, which is small and needs no other program."""
    root = unpacked("tcc", "libc6-dev", "linux-libc-dev")
    machine = f"{platform.machine()}-linux-gnu"
    libraries, own = root / "usr/lib" / machine, root / "usr/lib" / machine / "tcc"
    headers = (own / "include", root / "usr/include" / machine, root / "usr/include")
    # The development package's libc.so names the files of an installed one; the running C library does as well.
    c_library = next(path for path in (Path("/lib") / machine / "libc.so.6", Path("/lib64/libc.so.6")) if path.exists())
    parts = [libraries / "crt1.o", libraries / "crti.o", *sorted((folder / "src").glob("*.c"))]
    parts += [c_library, own / "libtcc1.a", libraries / "crtn.o"]
    includes = ["-nostdinc", *(f"-I{path}" for path in headers)]
    tcc_ = [str(root / "usr/bin/tcc"), f"-B{own}", *includes, *_WARNINGS, "-nostdlib"]
    return [*tcc_, "-o", "reader", *map(str, parts)]
