"""What a plugin finds in a container, tried from within; each test is one container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from container_engines import ContainerEngine
from container_sessions import containers, started
from within import within

from dativo_ingest.sandbox.container.back_end import USER, Container
from dativo_ingest.sandbox.grant import Grant
from dativo_plugin_sdk.errors import SandboxError

MIB = 2**20


def test_a_plugin_is_nobody_and_cannot_become_somebody(back_end: Container, folder: Path) -> None:
    found = within(
        folder,
        """
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        return {name: status[name].split() for name in
                ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")}
        """,
        confinement=back_end,
    )

    nothing = ["0" * 16]
    assert found["Uid"] == found["Gid"] == [str(USER)] * 4
    assert found["Groups"] in ([], [str(USER)])
    assert all(found[name] == nothing for name in found if name.startswith("Cap"))
    assert found["NoNewPrivs"] == ["1"]
    assert found["Seccomp"] == ["2"]


def test_a_plugin_sees_its_own_processes_and_environment_alone(back_end: Container, folder: Path) -> None:
    found = within(
        folder,
        """
        return {
            "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
            "own": os.getpid(),
            "environment": sorted(os.environ),
            "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]],
            "hosts": open("/etc/hosts").read(),
            "names": open("/etc/resolv.conf").read(),
            "host": os.uname().nodename,
            "fork": outcome(os.fork),
            "shell": [path for path in ("/bin/sh", "/bin/busybox", "/usr/bin/env", "/bin/su") if os.path.exists(path)],
            "home": (os.path.expanduser("~"), os.getcwd()),
        }
        """,
        confinement=back_end,
    )

    own = {
        "HOME",
        "HOSTNAME",
        "LANG",
        "LC_CTYPE",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "TERM",
        "TMPDIR",
        "TZ",
        "container",
    }
    assert len(found["processes"]) == 3  # with the one that carries connections
    assert {1, found["own"]} <= {*found["processes"]}
    assert {name for name in found["environment"] if not name.startswith("LC_")} <= own
    assert found["interfaces"] == ["lo"]
    assert found["names"].startswith("nameserver 127.0.0.1\n")
    assert os.uname().nodename not in (found["host"], *found["hosts"].split())
    assert found["fork"] == "EPERM"
    assert found["shell"] == []
    assert found["home"] == ["/job", "/tmp"]


def test_a_plugin_writes_its_temporary_files_and_its_grant_and_nothing_else(back_end: Container, folder: Path) -> None:
    mine, other = folder.parent / "mine", folder.parent / "other"
    for made in (mine, other):
        made.mkdir(mode=0o755)
    os.chown(mine, USER, USER)
    (other / "rows.csv").write_text("1\n")
    for name, text in ((".env", "SECRET=1"), ("code.py", "")):
        (folder / name).write_text(text)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("token")
    grant = Grant(read=(str(other / "rows.csv"),), write=(str(mine),), tmp_bytes=16 * MIB)

    found = within(
        folder,
        f"""
        own = os.path.dirname(__file__)
        def write(path):
            return outcome(lambda: open(path, "w").close())
        def fill():
            with open("/tmp/large", "wb") as file:
                for _ in range(32):
                    file.write(bytes({MIB}))
        return {{
            "may": [write(path + "/x") for path in ("/tmp", "/job", {str(mine)!r})],
            "may not": [write(path + "/x") for path in
                        ("", "/usr", "/run/io", "/run/dativo", "/dev/mqueue", own, {str(other)!r})],
            "granted": outcome(lambda: open({str(other / "rows.csv")!r}).read()),
            "beside it": outcome(lambda: os.listdir({str(other)!r})),
            "secrets": (open(own + "/.env").read(), os.listdir(own + "/.git")),
            "too much": outcome(fill),
        }}
        """,
        grant,
        back_end,
    )

    assert found["may"] == [None] * 3
    assert set(found["may not"]) <= {"EROFS", "EACCES"}
    assert found["granted"] == "1\n"
    assert found["beside it"] == ["rows.csv"]
    assert found["secrets"] == ["", []]
    assert found["too much"] in ("ENOSPC", "EFBIG")
    assert (mine / "x").exists()


def test_the_engine_is_asked_for_every_restriction(engine: ContainerEngine, back_end: Container, folder: Path) -> None:
    grant = Grant(memory_bytes=200 * MIB, cpu=0.5, pids=20, tmp_bytes=8 * MIB)

    with started(folder, back_end, grant):
        (found,) = containers(engine, folder)

    settings = found["HostConfig"]
    assert found["Image"].removeprefix("sha256:") == engine.image.removeprefix("sha256:")
    assert found["Config"]["User"] == f"{USER}:{USER}"
    assert settings["NetworkMode"] == "none"
    assert settings["ReadonlyRootfs"]
    assert not settings["Privileged"]
    assert not settings["CapAdd"]
    assert settings["CapDrop"]
    assert any(option.startswith("no-new-privileges") for option in settings["SecurityOpt"])
    assert any(option.startswith("seccomp=") for option in settings["SecurityOpt"])
    assert settings["Memory"] == settings["MemorySwap"] == grant.memory_bytes
    assert settings["PidsLimit"] == grant.pids + 2
    assert settings["NanoCpus"] == 500_000_000
    assert settings["PidMode"] in ("", "private")
    assert settings["IpcMode"] in ("private", "shareable")  # as Podman calls its own
    assert {"nofile", "nproc", "core"} <= {each["Name"].lower().removeprefix("rlimit_") for each in settings["Ulimits"]}
    assert not any("docker.sock" in str(mount) or "podman.sock" in str(mount) for mount in found["Mounts"])


def test_a_call_that_is_trapped_is_named(back_end: Container, folder: Path) -> None:
    with pytest.raises(SandboxError) as raised:
        within(folder, "import ctypes; ctypes.CDLL(None).mount(None, None, None, 0, None)", confinement=back_end)

    assert raised.value.error_code == "SANDBOX_VIOLATION"
    assert raised.value.details["syscall"] == "mount"


def test_gvisor_is_a_kernel_of_its_own(gvisor: Container, folder: Path) -> None:
    found = within(folder, "return os.uname().release, os.getuid(), outcome(os.fork)", confinement=gvisor)

    assert gvisor.isolation == "vm"
    assert found[0] != os.uname().release
    assert found[1:] == [USER, "EPERM"]


def test_a_runtime_that_shares_the_kernel_is_none_with_its_own(
    monkeypatch: pytest.MonkeyPatch, docker: ContainerEngine, folder: Path
) -> None:
    from dativo_ingest.sandbox.container import back_end

    monkeypatch.setattr(back_end, "_has_own_kernel", lambda _: True)
    lying = back_end.container(engine=docker.url, image=docker.image, runtime="runc")

    with pytest.raises(SandboxError) as raised:
        within(folder, "return 1", confinement=lying)

    assert raised.value.error_code == "SANDBOX_UNAVAILABLE"
    assert "its kernel is the host's" in str(raised.value)
