"""The list of system calls that a plugin may make: what it says, whether it suffices, and who holds to it."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bpf
import debian
import everyday_work
import filtered
import pytest

from dativo_ingest.sandbox import seccomp
from dativo_ingest.sandbox.inside import call_names, sigsys
from dativo_plugin_sdk.errors import SandboxError

MAKER = Path(__file__).parents[2] / "deploy" / "seccomp" / "make_profile.py"
INSIDE = Path(sigsys.__file__).parent
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386, ARM, X32_BIT = 0x40000003, 0x40000028, 0x40000000
ACTIONS = {"SCMP_ACT_ALLOW": bpf.ALLOW, "SCMP_ACT_TRAP": bpf.TRAP, "SCMP_ACT_ERRNO": bpf.refused(38)}
NEW_USER, STACK = 0x10000000, 0x7FFF0000
HIGH = 1 << 32
INSTALLED = f"import sys; sys.path.insert(0, {str(INSIDE)!r}); import sigsys, call_names, ctypes, os, threading\n"
INSTALLED += "sigsys.install(call_names.CALLS[os.uname().machine]); libc = ctypes.CDLL(None)\n"


@pytest.fixture(scope="module")
def libseccomp() -> Path:
    folder = debian.unpacked("libseccomp2")
    return next(folder.glob("usr/lib/*/libseccomp.so.2"))


@pytest.fixture(scope="module")
def calls(libseccomp: Path) -> dict[str, dict[str, int]]:
    """Give every machine's calls by name."""
    said = subprocess.run([sys.executable, "-c", NUMBERS, libseccomp], check=True, capture_output=True).stdout
    found: dict[str, dict[str, int]] = json.loads(said)
    return found


NUMBERS = f"""
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("make_profile", {str(MAKER)!r})
make_profile = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_profile)
libseccomp = make_profile._libseccomp(sys.argv[1])
machines = make_profile.MACHINES.items()
print(json.dumps({{machine: make_profile._calls(libseccomp, arch) for machine, (_, arch) in machines}}))
"""


def test_the_profile_is_what_its_maker_makes(libseccomp: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, MAKER, tmp_path, "--library", libseccomp], check=True)

    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    installed = {path: (INSIDE.parent / path).read_bytes() for path in made}
    assert len(made) == 5
    assert made == installed


def _cases() -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Give calls whose verdict depends on their arguments, as the kernel would take them."""
    yield "clone", (0x11,), bpf.ALLOW
    yield "clone", (0x3D0F00, STACK), bpf.ALLOW  # a thread
    yield "clone", (NEW_USER | 0x11,), bpf.TRAP
    yield "clone", (0x7E020000,), bpf.TRAP
    yield "socket", (1, 2, 0), bpf.ALLOW
    yield "socket", (2, 0x80801, 6), bpf.ALLOW  # SOCK_CLOEXEC and SOCK_NONBLOCK beside the type
    yield "socket", (10, 2, 17), bpf.ALLOW
    yield "socket", (2, 3, 1), bpf.refused(38)  # raw
    yield "socket", (2, 1, 132), bpf.refused(38)  # SCTP, of which the kernel would load a module
    yield "socket", (16, 3, 0), bpf.ALLOW
    yield "socket", (16, 3, 6), bpf.refused(38)  # xfrm
    yield "socket", (40, 1, 0), bpf.refused(38)  # vsock
    yield "socket", (17, 3, 0), bpf.refused(38)  # packet
    yield "socket", (38, 5, 0), bpf.refused(38)  # alg
    yield "socket", (HIGH | 40, 1, 0), bpf.refused(38)
    yield "socketpair", (1, 1, 0), bpf.ALLOW
    yield "socketpair", (30, 1, 0), bpf.refused(38)  # TIPC
    yield "ioctl", (0, 0x5401), bpf.ALLOW
    yield "ioctl", (0, 0x5412), bpf.TRAP
    yield "ioctl", (0, HIGH | 0x5412), bpf.TRAP  # the kernel takes 32 bits: CVE-2019-10063
    yield "ioctl", (0, 0x541C), bpf.TRAP
    yield "ioctl", (0, 0xC0045878), bpf.refused(38)
    yield "personality", (0xFFFFFFFF,), bpf.ALLOW
    yield "personality", (0xFFFFFFFFFFFFFFFF,), bpf.ALLOW  # -1 of C, which asks, too
    yield "personality", (0x0040000,), bpf.refused(38)
    yield "fchmodat", (0, 0, 0o755), bpf.ALLOW
    yield "fchmodat", (0, 0, 0o4755), bpf.refused(1)
    yield "fchmod", (0, 0o2755), bpf.refused(1)
    yield "chmod", (0, HIGH | 0o6755), bpf.refused(1)
    yield "openat", (0, 0, 0), bpf.ALLOW
    yield "openat", (0, 0, 0, 0o6000), bpf.ALLOW  # nothing is made
    yield "openat", (0, 0, 0o101, 0o666), bpf.ALLOW
    yield "openat", (0, 0, 0o101, 0o4755), bpf.refused(38)
    yield "openat", (0, 0, 0o20200002, 0o4755), bpf.refused(38)  # O_TMPFILE
    yield "open", (0, 0o101, 0o2755), bpf.refused(38)
    yield "creat", (0, 0o4755), bpf.refused(1)
    yield "mknodat", (0, 0, 0o010644), bpf.ALLOW
    yield "mknodat", (0, 0, 0o060644), bpf.refused(38)  # a block device


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_both_machines_programs_say_what_the_profile_says(machine: str, calls: dict[str, dict[str, int]]) -> None:
    program, numbers = seccomp.program(machine), calls[machine]
    rules = json.loads(seccomp.profile())["syscalls"]
    plain = {name: ACTIONS[rule["action"]] for rule in rules if "args" not in rule for name in rule["names"]}

    said = {name: bpf.verdict(program, ARCHITECTURES[machine], numbers[name]) for name in plain.keys() & numbers.keys()}
    unknown = {
        bpf.verdict(program, ARCHITECTURES[machine], number) for number in range(512) if number not in numbers.values()
    }

    assert said == {name: plain[name] for name in said}
    assert {"read", "mmap", "futex", "execve"} <= {name for name, action in said.items() if action == bpf.ALLOW}
    assert unknown == {bpf.refused(38)}
    for name, arguments, action in _cases():
        if name in numbers:
            assert bpf.verdict(program, ARCHITECTURES[machine], numbers[name], arguments) == action, (name, arguments)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_a_call_of_another_abi_ends_the_process(machine: str) -> None:
    program, own = seccomp.program(machine), ARCHITECTURES[machine]
    others = {I386, ARM, *ARCHITECTURES.values()} - {own}

    assert {bpf.verdict(program, each, number) for each in others for number in range(512)} == {bpf.KILL_PROCESS}
    if machine == "x86_64":
        assert {bpf.verdict(program, own, X32_BIT | number) for number in range(600)} == {bpf.KILL_PROCESS}


def test_every_known_call_is_named_for_engines_without_a_default_errno(calls: dict[str, dict[str, int]]) -> None:
    profile = json.loads(seccomp.profile())

    named = {name for rule in profile["syscalls"] for name in rule["names"]}
    refused = next(rule for rule in profile["syscalls"] if rule.get("errnoRet") == 38)
    assert named >= calls["x86_64"].keys() | calls["aarch64"].keys()
    assert {"clone3", "io_uring_setup", "openat2", "memfd_create"} <= set(refused["names"])
    assert refused["errnoRet"] == profile["defaultErrnoRet"] == 38


def test_every_trapped_call_has_a_name_on_both_machines(calls: dict[str, dict[str, int]]) -> None:
    rules = json.loads(seccomp.profile())["syscalls"]
    trapped = {name for rule in rules if rule["action"] == "SCMP_ACT_TRAP" for name in rule["names"]}

    for machine, names in call_names.CALLS.items():
        wanted = {number: name for name, number in calls[machine].items() if name in trapped}
        assert names == wanted
        assert "ptrace" in wanted.values()


@pytest.mark.parametrize("name", ["plugin-v1.json", f"plugin-v1.{platform.machine()}.bpf"])
@pytest.mark.parametrize("harm", ["missing", "longer", "empty"])
def test_a_profile_that_is_not_as_installed_is_not_used(
    name: str, harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(seccomp._FOLDER, tmp_path / "seccomp"))
    monkeypatch.setattr(seccomp, "_FOLDER", folder)
    match harm:
        case "missing":
            (folder / name).unlink()
        case "longer":
            (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
        case "empty":
            (folder / name).write_bytes(b"")

    with pytest.raises(SandboxError) as caught:
        seccomp.profile() if name.endswith("json") else seccomp.program()

    assert caught.value.error_code == "SANDBOX_UNAVAILABLE"
    assert name in str(caught.value)


def test_a_machine_without_a_list_is_refused() -> None:
    with pytest.raises(SandboxError, match="no list of allowed system calls for riscv64"):
        seccomp.program("riscv64")


def _run(tmp_path: Path, *command: object) -> subprocess.CompletedProcess[str]:
    rules = tmp_path / "rules.bpf"
    rules.write_bytes(seccomp.program())
    return subprocess.run(
        [sys.executable, "-I", "-S", filtered.__file__, rules, sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_allowed_calls_suffice_for_what_plugins_do(tmp_path: Path) -> None:
    done = _run(tmp_path, "-I", everyday_work.__file__, tmp_path)

    assert done.stdout == "done\n", done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    "way",
    [
        "libc.syscall({number}, 0)",
        "ctypes.PyDLL(None).syscall({number}, 0)",
        "thread = threading.Thread(target=lambda: libc.syscall({number}, 0)); thread.start(); thread.join()",
        "os.fork() or libc.syscall({number}, 0); os.kill(os.getpid(), os.wait()[1] & 127)",
    ],
    ids=["without the interpreter's lock", "with it", "in a thread", "in a child"],
)
def test_the_call_that_ended_a_plugin_is_named(way: str, tmp_path: Path) -> None:
    number = next(number for number, name in call_names.CALLS[platform.machine()].items() if name == "keyctl")

    done = _run(tmp_path, "-I", "-S", "-c", INSTALLED + way.format(number=number) + "\nprint('went on')")

    assert done.stderr == f"dativo-sandbox: the system call keyctl ({number}) is not allowed\n"
    assert (done.returncode, done.stdout) == (-31, "")
