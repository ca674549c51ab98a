from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dativo_ingest.sandbox.inside import landlock, programs, verify
from dativo_ingest.sandbox.inside_plan import INSIDE, REFUSED, REFUSED_PREFIX, InsidePlan

HERE = {"uid": 65532, "files": {}}


def run_outside(plan: InsidePlan, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run it as it runs within, where there is no sandbox."""
    python, *options, _, text = plan.command_line(sys.executable)
    return subprocess.run(
        [python, *options, str(INSIDE), text], capture_output=True, text=True, env=settings, check=False
    )


def test_without_a_sandbox_nothing_of_the_plugin_runs(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    plan = InsidePlan(65532, None, ("/bin/touch", str(canary)), write=(str(tmp_path),), execute=("/",), programs=True)

    done = run_outside(plan)

    assert done.returncode == REFUSED
    assert done.stderr.startswith(REFUSED_PREFIX)
    assert not canary.exists()
    assert subprocess.run(["/bin/touch", str(canary)], check=True).returncode == 0


@pytest.mark.parametrize("plan", ["", "[]", "{}", "not json"])
def test_a_plan_that_is_none_ends_before_anything_runs(plan: str) -> None:
    done = subprocess.run([sys.executable, "-I", "-S", str(INSIDE), plan], capture_output=True, text=True, check=False)

    assert done.returncode == REFUSED
    assert done.stderr.startswith(REFUSED_PREFIX)


def test_a_process_that_nothing_holds_has_everything_wrong_with_it() -> None:
    found = verify._wrong_with_process(HERE)

    assert any("its user and group are" in wrong for wrong in found)
    assert "its system calls are not filtered" in found
    assert "it may gain privileges" in found


def test_a_root_that_can_be_written_is_wrong() -> None:
    assert "its root can be written" in verify._wrong_with_files(HERE)


def test_a_file_that_took_anothers_place_is_wrong(tmp_path: Path) -> None:
    granted, other = tmp_path / "granted", tmp_path / "other"
    granted.write_text("")
    other.write_text("")
    known = granted.stat()
    plan = {**HERE, "files": {str(granted): (known.st_dev, known.st_ino)}}
    before = verify._wrong_with_files(plan)

    other.replace(granted)

    after = verify._wrong_with_files(plan)
    assert set(after) - set(before) == {f"{granted} is another file than the one that was granted"}


def test_a_machine_without_a_filter_against_programs_is_refused() -> None:
    with pytest.raises(OSError, match="no filter against other programs for riscv64"):
        programs._filter("riscv64", also_exec=True)


RESTRICTED = """
import errno, os, socket, sys
sys.path.append(sys.argv[1])
from inside.landlock import restrict
if sys.argv[2] == "restricted":
    restrict(read=["/usr", "/lib", "/lib64", sys.base_prefix, sys.argv[3]], write=[sys.argv[4]], execute=[],
             is_needed=True, denies_tcp=True)

def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return None

def bind():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))

read, write = sys.argv[3:5]
print([
    outcome(lambda: open(f"{read}/file").close()),
    outcome(lambda: open(f"{read}/new", "w").close()),
    outcome(lambda: open(f"{write}/new", "w").close()),
    outcome(lambda: os.rename(f"{write}/new", f"{write}/renamed")),
    outcome(lambda: os.listdir(os.path.dirname(read))),
    outcome(lambda: os.kill(os.getppid(), 0)),
    outcome(bind),
    outcome(lambda: os.execv("/bin/true", ["true"])) if sys.argv[2] == "restricted" else None,
])
"""


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("restricted", [None, "EACCES", None, None, "EACCES", "EPERM", "EACCES", "EACCES"]),
        ("free", [None] * 8),
    ],
)
def test_landlock_leaves_what_it_is_told(tmp_path: Path, how: str, found: list[str | None]) -> None:
    read, write = tmp_path / "read", tmp_path / "write"
    read.mkdir()
    write.mkdir()
    (read / "file").write_text("")
    command = [sys.executable, "-I", "-S", "-c", RESTRICTED, str(INSIDE.parent), how, str(read), str(write)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == (str(found), "")
    assert landlock.version() >= 1


FILTERED = """
import errno, os, sys, threading
sys.path.append(sys.argv[1])
from inside.programs import deny_programs
deny_programs(also_exec=sys.argv[2] == "no exec")

def outcome(attempt):
    try:
        return attempt()
    except OSError as error:
        return errno.errorcode[error.errno]

threads = []
thread = threading.Thread(target=threads.append, args=(1,))
thread.start()
thread.join()
print(threads, outcome(os.fork), outcome(lambda: os.posix_spawn("/bin/true", ["true"], {})), flush=True)
print(outcome(lambda: os.execv("/bin/echo", ["echo", "executed"])))
"""


@pytest.mark.parametrize(("how", "last"), [("no exec", "EPERM"), ("exec", "executed")])
def test_the_filter_denies_processes_and_programs_and_leaves_threads(how: str, last: str) -> None:
    command = [sys.executable, "-I", "-S", "-c", FILTERED, str(INSIDE.parent), how]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout.splitlines() == ["[1] EPERM EPERM", last]


def test_it_is_written_with_the_standard_library_alone() -> None:
    command = [sys.executable, "-I", "-S", "-c", IMPORTED, str(INSIDE.parent)]

    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "standard\n"


IMPORTED = """
import os, sys
sys.path.append(sys.argv[1])
for name in os.listdir(f"{sys.argv[1]}/inside"):
    if name.endswith(".py") and not name.startswith("__"):
        __import__(f"inside.{name[:-3]}")
known = {*sys.stdlib_module_names, "inside", "__main__"}
foreign = [name for name in sys.modules if name.partition(".")[0] not in known]
print(foreign or "standard")
"""


def test_its_folder_is_there_and_holds_no_link() -> None:
    assert not any(path.is_symlink() for path in INSIDE.iterdir())
    assert os.path.realpath(INSIDE) == str(INSIDE)
