"""Attempts on the kernel: what it offers beyond files and sockets, and what it lets the privileged do."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from pathlib import Path

from attempts import Places, attempt, call, libc, reaches

_X86 = {
    "unshare": 272, "mount": 165, "umount2": 166, "chroot": 161, "pivot_root": 155, "bpf": 321, "perf_event_open": 298,
    "userfaultfd": 323, "add_key": 248, "request_key": 249, "keyctl": 250, "kexec_load": 246, "init_module": 175,
    "finit_module": 313, "delete_module": 176, "personality": 135, "setns": 308, "swapon": 167, "reboot": 169,
    "quotactl": 179, "clone": 56, "fanotify_init": 300, "sched_setscheduler": 144, "sched_setaffinity": 203,
    "sethostname": 170, "name_to_handle_at": 303, "capset": 126, "setresuid": 117, "ioctl": 16, "memfd_create": 319,
    "acct": 163, "ioprio_set": 251,
}  # fmt: skip
_ARM = {
    "unshare": 97, "mount": 40, "umount2": 39, "chroot": 51, "pivot_root": 41, "bpf": 280, "perf_event_open": 241,
    "userfaultfd": 282, "add_key": 217, "request_key": 218, "keyctl": 219, "kexec_load": 104, "init_module": 105,
    "finit_module": 273, "delete_module": 106, "personality": 92, "setns": 268, "swapon": 224, "reboot": 142,
    "quotactl": 60, "clone": 220, "fanotify_init": 262, "sched_setscheduler": 119, "sched_setaffinity": 122,
    "sethostname": 161, "name_to_handle_at": 264, "capset": 91, "setresuid": 147, "ioctl": 29, "memfd_create": 279,
    "acct": 89, "ioprio_set": 30,
}  # fmt: skip
NUMBER = {
    **{"x86_64": _X86, "aarch64": _ARM}[os.uname().machine],
    "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "clone3": 435, "memfd_secret": 447,
}  # fmt: skip
NEW_NS, NEW_USER, NEW_NET, NEW_PID = 0x00020000, 0x10000000, 0x40000000, 0x20000000
HIGH = 1 << 32
TIOCSTI, TIOCLINUX = 0x5412, 0x541C


@attempt("kernel: a user namespace, unshare")
def _(places: Places) -> object:
    return call(NUMBER["unshare"], NEW_USER) == 0


@attempt("kernel: a mount namespace, unshare")
def _(places: Places) -> object:
    return call(NUMBER["unshare"], NEW_NS) == 0


@attempt("kernel: a network namespace, unshare")
def _(places: Places) -> object:
    return call(NUMBER["unshare"], NEW_NET) == 0


def _ended_at_once(pid: int) -> bool:
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0x40000000)
    return True


@attempt("kernel: a user namespace, clone")
def _(places: Places) -> object:
    return _ended_at_once(call(NUMBER["clone"], NEW_USER | 17, 0, 0, 0, 0))


@attempt("kernel: a user namespace, clone3")
def _(places: Places) -> object:
    arguments = struct.pack("<11Q", NEW_USER, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
    return _ended_at_once(call(NUMBER["clone3"], ctypes.c_char_p(arguments), 88))


@attempt("kernel: enter a namespace, setns")
def _(places: Places) -> object:
    for path in (f"/proc/{places['victim_pid']}/ns/net", "/proc/1/ns/net", "/proc/self/ns/net"):
        try:
            return call(NUMBER["setns"], os.open(path, os.O_RDONLY), 0) == 0
        except OSError as error:
            last = error
    raise last


@attempt("kernel: mount")
def _(places: Places) -> object:
    at = Path(os.environ["HOME"], "mounted")
    at.mkdir()
    text = [ctypes.c_char_p(each) for each in (b"none", bytes(at), b"tmpfs")]
    done = call(NUMBER["mount"], *text, 0, None) == 0
    libc.umount2(bytes(at), 2)
    return done


@attempt("kernel: umount")
def _(places: Places) -> object:
    return reaches(NUMBER["umount2"], ctypes.c_char_p(b"/dativo-no-such-folder"), 0, error=errno.ENOENT)


@attempt("kernel: mount anew, fsopen")
def _(places: Places) -> object:
    return call(NUMBER["fsopen"], ctypes.c_char_p(b"tmpfs"), 0) >= 0


@attempt("kernel: take a tree of mounts, open_tree")
def _(places: Places) -> object:
    return call(NUMBER["open_tree"], -100, ctypes.c_char_p(b"/"), 1) >= 0


@attempt("kernel: chroot")
def _(places: Places) -> object:
    return call(NUMBER["chroot"], ctypes.c_char_p(b"/")) == 0


@attempt("kernel: pivot_root")
def _(places: Places) -> object:
    nowhere = ctypes.c_char_p(b"/dativo-no-such-folder")
    return reaches(NUMBER["pivot_root"], nowhere, nowhere, error=errno.ENOENT)


@attempt("kernel: a program in it, bpf")
def _(places: Places) -> object:
    array = ctypes.create_string_buffer(struct.pack("<IIII", 2, 4, 8, 1), 72)
    return call(NUMBER["bpf"], 0, array, 72) >= 0


@attempt("kernel: watch others' work, perf_event_open")
def _(places: Places) -> object:
    attributes = ctypes.create_string_buffer(struct.pack("<IIQ", 1, 112, 0), 112)
    return call(NUMBER["perf_event_open"], attributes, 0, -1, -1, 0) >= 0


@attempt("kernel: stop it in the middle, userfaultfd")
def _(places: Places) -> object:
    return call(NUMBER["userfaultfd"], 0) >= 0


@attempt("kernel: calls past the filter, io_uring_setup")
def _(places: Places) -> object:
    return call(NUMBER["io_uring_setup"], 4, ctypes.create_string_buffer(120)) >= 0


@attempt("kernel: keep a key in it, add_key")
def _(places: Places) -> object:
    kind, name = ctypes.c_char_p(b"user"), ctypes.c_char_p(b"dativo-escape")
    return call(NUMBER["add_key"], kind, name, ctypes.c_char_p(b"x"), 1, -2) > 0


@attempt("kernel: the session's keys, keyctl")
def _(places: Places) -> object:
    return call(NUMBER["keyctl"], 0, -3, 1) != 0


@attempt("kernel: ask for a key, request_key")
def _(places: Places) -> object:
    kind, name = ctypes.c_char_p(b"user"), ctypes.c_char_p(b"dativo-no-such-key")
    return reaches(NUMBER["request_key"], kind, name, None, 0, error=errno.ENOKEY)


@attempt("kernel: another kernel, kexec_load")
def _(places: Places) -> object:
    return reaches(NUMBER["kexec_load"], 0, 0, None, 0x8000, error=errno.EINVAL)


@attempt("kernel: a module of its own, init_module")
def _(places: Places) -> object:
    return reaches(NUMBER["init_module"], ctypes.c_char_p(b"no module"), 9, ctypes.c_char_p(b""), error=errno.ENOEXEC)


@attempt("kernel: remove a module, delete_module")
def _(places: Places) -> object:
    return reaches(NUMBER["delete_module"], ctypes.c_char_p(b"dativo_no_such"), 0, error=errno.ENOENT)


@attempt("kernel: a device of its own, mknod")
def _(places: Places) -> object:
    path = Path(os.environ["HOME"], "memory")
    os.mknod(path, 0o020600, os.makedev(1, 1))
    path.unlink()
    return True


@attempt("kernel: addresses that are known, personality")
def _(places: Places) -> object:
    return call(NUMBER["personality"], 0x0040000) >= 0


@attempt("kernel: memory that it cannot see, memfd_secret")
def _(places: Places) -> object:
    return call(NUMBER["memfd_secret"], 0) >= 0


@attempt("kernel: watch others' files, fanotify_init")
def _(places: Places) -> object:
    return call(NUMBER["fanotify_init"], 0, 0) >= 0


@attempt("kernel: a file's handle, name_to_handle_at")
def _(places: Places) -> object:
    handle = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0), 136)
    number = ctypes.c_int()
    return call(NUMBER["name_to_handle_at"], -100, ctypes.c_char_p(b"/"), handle, ctypes.byref(number), 0) == 0


@attempt("kernel: swap space, swapon")
def _(places: Places) -> object:
    return reaches(NUMBER["swapon"], ctypes.c_char_p(b"/dativo-no-such-file"), 0, error=errno.ENOENT)


@attempt("kernel: restart the machine, reboot")
def _(places: Places) -> object:
    """Without the numbers that would make it do so."""
    return reaches(NUMBER["reboot"], 1, 2, 3, None, error=errno.EINVAL)


@attempt("kernel: the machine's name, sethostname")
def _(places: Places) -> object:
    name = os.uname().nodename.encode()
    return call(NUMBER["sethostname"], ctypes.c_char_p(name), len(name)) == 0


@attempt("kernel: the i386 ABI, int 0x80")
def _(places: Places) -> object:
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20 (getpid of i386); int 0x80; ret
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid()


@attempt("kernel: the x32 ABI")
def _(places: Places) -> object:
    return call(0x40000000 | 39) == os.getpid()


@attempt("kernel: type into the terminal, TIOCSTI")
def _(places: Places) -> object:
    return reaches(NUMBER["ioctl"], 0, TIOCSTI, ctypes.c_char_p(b"x"), error=errno.ENOTTY)


@attempt("kernel: the same, with bits that the kernel drops")
def _(places: Places) -> object:
    return reaches(NUMBER["ioctl"], 0, HIGH | TIOCSTI, ctypes.c_char_p(b"x"), error=errno.ENOTTY)


@attempt("kernel: type into the console, TIOCLINUX")
def _(places: Places) -> object:
    return reaches(NUMBER["ioctl"], 0, TIOCLINUX, ctypes.c_char_p(b"\3"), error=errno.ENOTTY)


@attempt("privileges: a capability")
def _(places: Places) -> object:
    with Path("/proc/self/status").open() as lines:
        sets = [line.split()[1] for line in lines if line.startswith(("CapEff:", "CapPrm:", "CapInh:", "CapAmb:"))]
    return any(int(each, 16) for each in sets)


@attempt("privileges: rise by a program, no-new-privileges is not set")
def _(places: Places) -> object:
    return libc.prctl(39, 0, 0, 0, 0) == 0


@attempt("privileges: be root")
def _(places: Places) -> object:
    if os.getuid() != 0:
        os.setuid(0)
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


@attempt("privileges: write the own user namespace's map")
def _(places: Places) -> object:
    Path("/proc/self/uid_map").write_text("0 0 1")
    return True


@attempt("privileges: loosen the filter of system calls")
def _(places: Places) -> object:
    """Have none at all, or take it away."""
    return libc.prctl(21, 0, 0, 0, 0) == 0
