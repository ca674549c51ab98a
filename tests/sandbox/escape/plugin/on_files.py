"""Attempts on files: the host's, another tenant's, the plugin's own and the engine's."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

from attempts import Places, See, attempt, call, folder_of_sockets, libc

OPEN_BY_HANDLE_AT = {"x86_64": 304, "aarch64": 265}[os.uname().machine]


def _home() -> Path:
    return Path(os.environ["HOME"])


def _can_open(path: str | Path, flags: int) -> bool:
    """Open something to write, and write nothing."""
    os.close(os.open(path, flags | os.O_CLOEXEC))
    return True


@attempt("files: read /etc/shadow")
def _(places: Places) -> object:
    return "root:" in Path("/etc/shadow").read_text()


@attempt("files: read another tenant's file")
def _(places: Places) -> object:
    return Path(places["secret_file"]).read_text()


@attempt("files: read it by way of /proc/PID/root")
def _(places: Places) -> object:
    return Path(f"/proc/{places['victim_pid']}/root{places['secret_file']}").read_text()


@attempt("files: read it by way of /proc/PID/cwd")
def _(places: Places) -> object:
    return Path(f"/proc/{places['victim_pid']}/cwd/{Path(places['secret_file']).name}").read_text()


@attempt("files: read it by way of an open file, /proc/PID/fd")
def _(places: Places) -> object:
    return Path(f"/proc/{places['victim_pid']}/fd/{places['victim_descriptor']}").read_text()


@attempt("files: read it through a link in the own folder")
def _(places: Places) -> object:
    link = _home() / "link"
    link.symlink_to(places["secret_file"])
    return link.read_text()


@attempt("files: take it by a hard link into the own folder")
def _(places: Places) -> object:
    link = _home() / "hard"
    link.hardlink_to(places["secret_file"])
    return link.read_text()


@attempt("files: read it by its handle, open_by_handle_at")
def _(places: Places) -> object:
    handle = bytes.fromhex(places["handle"])
    mount = os.open("/" if not places["outside"] else _nearest(places["outside"]), os.O_RDONLY | os.O_DIRECTORY)
    opened = call(OPEN_BY_HANDLE_AT, mount, ctypes.c_char_p(handle), os.O_RDONLY)
    return os.read(opened, 1000).decode()


def _nearest(path: str) -> Path:
    """Give the folder, or the one above it that there is."""
    return next(each for each in (Path(path), *Path(path).parents) if each.is_dir())


@attempt("files: list the folder of another tenant")
def _(places: Places) -> object:
    return Path(places["secret_file"]).name in os.listdir(Path(places["secret_file"]).parent)


@attempt("files: read the keys in the engine's home")
def _(places: Places) -> object:
    return Path(places["home"], ".aws", "credentials").read_text()


@attempt("files: read what another process shares in /dev/shm")
def _(places: Places) -> object:
    return Path("/dev/shm", places["shared_name"]).read_text()


@attempt("files: write outside of the own folder")
def _(places: Places) -> object:
    Path(places["outside"], "written").write_text("x")
    return True


@attempt("files: write below /etc")
def _(places: Places) -> object:
    Path("/etc/dativo-escape").write_text("x")
    return True


@attempt("files: open a disk of the host's")
def _(places: Places) -> object:
    return any(_can_open(path, os.O_RDONLY) for path in Path("/dev").iterdir() if stat.S_ISBLK(path.stat().st_mode))


@attempt("files: open the machine's memory or log as a device")
def _(places: Places) -> object:
    for name in ("mem", "kmsg", "port"):
        try:
            return _can_open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            last = error
    raise last


@attempt("files: have the kernel run a program at a crash, core_pattern")
def _(places: Places) -> object:
    return _can_open("/proc/sys/kernel/core_pattern", os.O_WRONLY)


@attempt("files: press a magic key, sysrq-trigger")
def _(places: Places) -> object:
    return _can_open("/proc/sysrq-trigger", os.O_WRONLY)


@attempt("files: read the kernel's memory, kcore")
def _(places: Places) -> object:
    return _can_open("/proc/kcore", os.O_RDONLY)


@attempt("files: read the kernel's addresses, kallsyms")
def _(places: Places) -> object:
    with Path("/proc/kallsyms").open() as lines:
        return any(int(line.split()[0], 16) for _, line in zip(range(50), lines, strict=False))


@attempt("files: move itself to another cgroup")
def _(places: Places) -> object:
    found = [*Path("/sys/fs/cgroup").glob("cgroup.procs"), *Path("/sys/fs/cgroup").glob("*/cgroup.procs")]
    return any(_can_open(path, os.O_WRONLY) for path in found)


@attempt("privileges: rise by a setuid file")
def _(places: Places) -> object:
    mine = _home() / "set"
    mine.write_bytes(Path("/proc/self/exe").read_bytes()[:100])
    mine.chmod(0o4755)
    may_rise = libc.prctl(39, 0, 0, 0, 0) == 0  # PR_GET_NO_NEW_PRIVS
    return may_rise and not os.statvfs(mine).f_flag & os.ST_NOSUID


@attempt("persistence: change the plugin's own code")
def _(places: Places) -> object:
    return _can_open(places["plugin_file"], os.O_RDWR)


@attempt("persistence: put a compiled module beside the plugin's code")
def _(places: Places) -> object:
    folder = Path(places["plugin_file"]).parent / "__pycache__"
    folder.mkdir(exist_ok=True)
    (folder / "dativo_escape.pyc").touch()
    return True


@attempt("persistence: change the SDK that every plugin imports")
def _(places: Places) -> object:
    import dativo_plugin_sdk

    return _can_open(str(dativo_plugin_sdk.__file__), os.O_RDWR)


@attempt("persistence: change the engine's code")
def _(places: Places) -> object:
    return _can_open(places["engine_file"], os.O_RDWR)


@attempt("persistence: have Python run a line at every start, .pth")
def _(places: Places) -> object:
    path = Path(places["packages"], "dativo_escape.pth")
    path.touch()
    path.unlink()
    return True


@attempt("persistence: write into the engine's home, .profile")
def _(places: Places) -> object:
    return _can_open(Path(places["home"], ".profile"), os.O_RDWR)


@attempt("persistence: change the interpreter or what inside runs before it")
def _(places: Places) -> object:
    for path in (os.path.realpath("/proc/self/exe"), "/run/dativo/inside/__main__.py"):
        try:
            return _can_open(path, os.O_RDWR)
        except OSError as error:
            last = error
    raise last


@attempt("persistence: leave a file for the next run")
def _(places: Places) -> object:
    for folder in _left_at(places):
        try:
            (folder / places["left"]).write_text("left")
        except OSError:
            continue
    return See("the next run found it")


@attempt("persistence: (the next run looks for it)", forked=False)
def _(places: Places) -> object:
    return any((folder / places["left"]).exists() for folder in _left_at(places))


def _left_at(places: Places) -> list[Path]:
    return [Path(each) for each in (os.environ["HOME"], os.environ["TMPDIR"], *places["else_writable"])]


@attempt("persistence: a process that outlives the run")
def _(places: Places) -> object:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            libc.prctl(15, places["daemon"].encode(), 0, 0, 0)
            os.closerange(0, 256)
            while True:
                libc.pause()
        os._exit(0)
    return See("outlived")


@attempt("links: have the engine remove another folder's files for it")
def _(places: Places) -> object:
    (_home() / "remove me").symlink_to(places["kept"])
    (_home() / "and me").symlink_to(Path(places["kept"], "file"))
    return See("emptied")


@attempt("links: swap a folder of the engine's for a link")
def _(places: Places) -> object:
    folder = folder_of_sockets()
    for path in sorted(folder.iterdir()):
        path.rename(folder / f"{path.name}.away")
        path.symlink_to(places["kept"])
        path.unlink()
        (folder / f"{path.name}.away").rename(path)
        return True
    return False


@attempt("grants: leave a setuid file in a folder that it may write")
def _(places: Places) -> object:
    path = Path(places["granted"], "set by chmod")
    path.touch()
    path.chmod(0o6755)
    return See(f"setuid: {path.name}")


@attempt("grants: the same, made so at once")
def _(places: Places) -> object:
    path = Path(places["granted"], "set by open")
    os.umask(0)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o6755))
    return See(f"setuid: {path.name}")


@attempt("grants: the same, by a file without a name")
def _(places: Places) -> object:
    path = Path(places["granted"], "set by link")
    os.umask(0)
    made = os.open(places["granted"], os.O_TMPFILE | os.O_WRONLY, 0o6755)
    libc.linkat(-100, f"/proc/self/fd/{made}".encode(), -100, bytes(path), 0x400)
    return See(f"setuid: {path.name}")


@attempt("grants: leave a device in it")
def _(places: Places) -> object:
    path = Path(places["granted"], "device")
    os.mknod(path, 0o020666, os.makedev(1, 3))
    return See("a device")


@attempt("grants: reach out of it by a link")
def _(places: Places) -> object:
    link = Path(places["granted"], "out")
    link.symlink_to(places["secret_file"])
    return link.read_text()


@attempt("grants: reach out of it by ..")
def _(places: Places) -> object:
    return Path(places["granted"], "..", "other", "secret").read_text()


@attempt("grants: swap it for a link to another folder")
def _(places: Places) -> object:
    folder = Path(places["granted"])
    folder.rename(folder.with_name("granted before"))
    folder.symlink_to(places["kept"])
    folder.unlink()
    folder.with_name("granted before").rename(folder)
    return True


@attempt("grants: write a file that it may only read")
def _(places: Places) -> object:
    return _can_open(places["readable"], os.O_RDWR)


@attempt("grants: take the right to write it, chmod")
def _(places: Places) -> object:
    os.chmod(places["readable"], 0o666)
    return True


@attempt("grants: take a file that it may only read by a hard link")
def _(places: Places) -> object:
    link = Path(places["granted"], "taken")
    link.hardlink_to(places["readable"])
    return _can_open(link, os.O_RDWR)
