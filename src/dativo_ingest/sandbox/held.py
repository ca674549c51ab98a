"""What the warden's child does before it becomes bubblewrap: files by their own name or through a view, another user.

With the standard library alone, as all that the warden runs.

A process of root's is to be the plugin as another user, who could not reach most of what the plugin is granted: a
folder of mode 700 above it is enough. So what is granted is opened first, and shown to that user below a folder that
this process alone has, with root's files as that user's (an "idmapped mount", ``mount_setattr(2)``).
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import errno
import os
import resource
import signal
import stat
import struct
from typing import Any, Final

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same numbers on every architecture
_OPEN_TREE_CLONE = 1
_AT_RECURSIVE, _AT_EMPTY_PATH = 0x8000, 0x1000
_AT_FDCWD = -100
_MOVE_FROM_DESCRIPTOR = 4
_MOUNT_ATTR_IDMAP = 0x00100000
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 0x4000, 0x40000
_VIEW: Final = (
    "/sys"  # every system has it, and nothing here needs what is there; this process alone sees what is mounted over it
)
_AF_INET, _AF_INET6, _SOCK_DGRAM, _IFF_UP = 2, 10, 2, 1
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C  # netdevice(7), ipv6(7)
_INDEX_OF_LOOPBACK = 1
_BYTES_OF_6 = 16
_IDS = 2**32 - 1
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_REFUSED = 125

_library = ctypes.CDLL(None, use_errno=True)


def hold(plan: dict[str, Any]) -> list[str]:
    """Restrict this process as far as it can be from outside; give the command that restricts it further.

    Where something of it is refused the process ends with 125 and says what, as it would within.
    """
    try:
        return _held(plan)
    except OSError as error:
        os.write(2, f"dativo-sandbox: {error.filename or 'it cannot be made'}: {error.strerror}\n".encode())
        os._exit(_REFUSED)


def _held(plan: dict[str, Any]) -> list[str]:
    view = _shown(plan["sources"], plan["user"]) if plan["user"] is not None and _may_mount() else None
    for name, value in plan["limits"].items():
        _limit(getattr(resource, name), value)
    if plan["processors"] is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: plan["processors"]])
    if plan["user"] is not None:
        _become_user(plan["user"])
    if not os.access(plan["program"], os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), plan["program"])
    _unshare_network(plan["addresses"])
    return _command(plan, view)


def _become_user(user: int) -> None:
    """Give up root's rights; what the kernel takes away with them, and the warden has asked for, is asked for again."""
    parent = os.getppid()
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    for option, value in ((_PR_SET_PDEATHSIG, signal.SIGKILL), (_PR_SET_DUMPABLE, 1)):
        _checked(_library.prctl(option, value, 0, 0, 0), "the bond to the warden")
    if os.getppid() != parent:
        os._exit(_REFUSED)


def _limit(which: int, value: int) -> None:
    most = resource.getrlimit(which)[1]
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(which, (value, value))


def _may_mount() -> bool:
    """Take mounts of its own, out of sight of every other process; say whether that may be."""
    if _library.unshare(_CLONE_NEWNS) != 0:
        return False
    _checked(_library.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "private mounts")
    return True


def _shown(sources: list[list[Any]], user: int) -> list[str]:
    """Mount each source where the user can reach it; give where."""
    mapping = _mapping(user)
    try:
        trees = [_tree(source, mapping if is_mapped else None) for source, is_mapped in sources]
    finally:
        os.close(mapping)
    is_folder = [stat.S_ISDIR(os.fstat(tree).st_mode) for tree in trees]
    options = b"mode=0755,size=1m"
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV)
    _checked(_library.mount(b"tmpfs", _VIEW.encode(), b"tmpfs", flags, options), "a folder for mounts")
    places = [f"{_VIEW}/{index}" for index in range(len(trees))]
    for tree, place, has_entries in zip(trees, places, is_folder, strict=True):
        if has_entries:
            os.mkdir(place)  # noqa: PTH102  pathlib takes long to import
        else:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
        arguments = (tree, b"", _AT_FDCWD, place.encode(), _MOVE_FROM_DESCRIPTOR)
        _checked(_library.syscall(_MOVE_MOUNT, *arguments), place)
        os.close(tree)
    return places


def _tree(source: str, mapping: int | None) -> int:
    """Open a file or a folder as a mount of its own, which its name has nothing to do with any more."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    tree = _checked(_library.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags), source)
    if mapping is not None:
        attributes = struct.pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, mapping)
        # A file system that knows no such mounts is shown as it is: then the files' own rights decide.
        _library.syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, ctypes.c_size_t(len(attributes)))
    return tree


def _mapping(user: int) -> int:
    """Open a user namespace in which root is the user, and the user root."""
    ready, tell_ready = os.pipe()
    done, tell_done = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(tell_done)
            if _library.unshare(_CLONE_NEWUSER) == 0:
                os.write(tell_ready, b"r")
                os.read(done, 1)
        os._exit(0)
    os.close(tell_ready)
    try:
        os.read(ready, 1)
        lines = f"0 {user} 1\n1 1 {user - 1}\n{user} 0 1\n{user + 1} {user + 1} {_IDS - user - 1}\n"
        for name in ("uid_map", "gid_map"):
            _write(f"/proc/{pid}/{name}", lines)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for each in (ready, done, tell_done):
            os.close(each)
        os.waitpid(pid, 0)


def _unshare_network(addresses: list[str]) -> None:
    """Take a network of its own in which every port may be listened on, for what carries granted connections."""
    user, group = os.getuid(), os.getgid()
    _checked(_library.unshare(_CLONE_NEWUSER | _CLONE_NEWNET), "a network of its own")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    _write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
    _bring_up_loopback()
    for address in addresses:
        _give_address(bytes.fromhex(address))


def _bring_up_loopback() -> None:
    _configure(_AF_INET, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))


def _give_address(address: bytes) -> None:
    """Let the loopback interface have the address of a host that is granted by its address: who connects is heard."""
    if len(address) == _BYTES_OF_6:
        _configure(_AF_INET6, _SIOCSIFADDR, struct.pack("16sIi", address, 8 * len(address), _INDEX_OF_LOOPBACK))
        return
    label = b"lo:" + address.hex().encode()
    for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, b"\xff" * len(address))):
        _configure(_AF_INET, request, struct.pack("16sHH4s16x", label, _AF_INET, 0, value))


def _configure(family: int, request: int, value: bytes) -> None:
    number = _checked(_library.socket(family, _SOCK_DGRAM, 0), "a socket")
    try:
        buffer = ctypes.create_string_buffer(value)
        _checked(_library.ioctl(number, ctypes.c_ulong(request), buffer), "the loopback interface")
    finally:
        os.close(number)


def _write(path: str, text: str) -> None:
    """Write into a file of the kernel's; as whoever the process is now, who may not even load Python's codecs."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(file)


def _command(plan: dict[str, Any], view: list[str] | None) -> list[str]:
    """Write the command; its options go through a file, so that no list of processes shows them."""
    places = [source for source, _ in plan["sources"]] if view is None else view
    options = b""
    for each in plan["options"]:
        match each:
            case int():
                text = places[each]
            case [content]:
                text = str(_file(content.encode()))
            case _:
                text = each
        options += os.fsencode(text) + b"\0"
    listed = _file(options + b"--seccomp\0" + str(_file(base64.b64decode(plan["filter"]))).encode() + b"\0")
    return [plan["program"], "--args", str(listed), "--", *plan["command"]]


def _file(content: bytes) -> int:
    """Give an open file that has no name, for bubblewrap to read."""
    number = os.memfd_create("dativo", 0)
    os.write(number, content)
    os.lseek(number, 0, os.SEEK_SET)
    return number


def _checked(done: int, what: str) -> int:
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
    return done
