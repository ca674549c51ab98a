"""Writes the list of the system calls that a plugin may make: one OCI profile, and what the kernel takes of it.

    python deploy/seccomp/make_profile.py [FOLDER] [--library libseccomp.so.2]

The lists below are the source. FOLDER (the engine's own, if none is named) gets ``plugin-v1.json``, which the container
engines take, a compiled ``plugin-v1.<machine>.bpf`` for each machine, ``call_names.py``, by which a trapped call is
named, and ``digests.py``, by which the engine knows that it has the real ones.

A call is listed with its reason by family. What is not listed is answered with ENOSYS, as a kernel without it would, so
that libraries fall back; what no plugin has a reason for is trapped (SIGSYS), which ends the plugin and is reported.
Names are those that libseccomp 2.5.4 (Debian 12) knows: what is newer does not exist for a plugin.
"""

from __future__ import annotations

import argparse
import ctypes.util
import errno
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

NAME = "plugin-v1"
MACHINES = {"x86_64": ("SCMP_ARCH_X86_64", "X86_64"), "aarch64": ("SCMP_ARCH_AARCH64", "AARCH64")}
ENGINE = Path(__file__).parents[2] / "src" / "dativo_ingest" / "sandbox"
MOST_CALLS = 512  # the highest number is about 450
LOW_32_BITS = 0xFFFFFFFF  # the kernel looks at no more of an int, whatever the register holds

ALLOWED = {
    "files": """
        access faccessat faccessat2 close close_range read readv pread64 preadv preadv2 write writev pwrite64 pwritev
        pwritev2 lseek stat fstat lstat newfstatat statx statfs fstatfs readlink readlinkat getdents getdents64 getcwd
        chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat chown
        fchown lchown fchownat utime utimes utimensat futimesat truncate ftruncate fallocate fadvise64 readahead fsync
        fdatasync sync_file_range flock umask dup dup2 dup3 fcntl pipe pipe2 sendfile splice tee copy_file_range
        inotify_init inotify_init1 inotify_add_watch inotify_rm_watch getxattr lgetxattr fgetxattr listxattr
        llistxattr flistxattr setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr""",
    "memory": """
        brk mmap munmap mremap mprotect madvise mincore msync mbind get_mempolicy set_mempolicy membarrier pkey_alloc
        pkey_free pkey_mprotect mlock munlock""",
    "processes and threads": """
        execve execveat exit exit_group fork vfork wait4 waitid kill tkill tgkill getpid getppid gettid getpgid
        getpgrp getsid setpgid setsid getuid geteuid getgid getegid getresuid getresgid getgroups set_tid_address
        set_robust_list get_robust_list rseq futex futex_waitv sched_yield sched_getaffinity sched_getparam
        sched_getscheduler sched_getattr sched_get_priority_max sched_get_priority_min sched_rr_get_interval
        getpriority setpriority arch_prctl prctl getrlimit setrlimit prlimit64 getrusage times sysinfo uname getcpu
        capget pidfd_open pidfd_send_signal""",
    "signals and time": """
        rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo
        rt_tgsigqueueinfo sigaltstack restart_syscall pause alarm getitimer setitimer nanosleep clock_nanosleep
        clock_gettime clock_getres gettimeofday time timer_create timer_settime timer_gettime timer_delete
        timer_getoverrun timerfd_create timerfd_settime timerfd_gettime signalfd signalfd4 eventfd eventfd2""",
    "waiting and sockets": """
        poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 connect
        bind listen accept accept4 getsockname getpeername getsockopt setsockopt sendto recvfrom sendmsg recvmsg
        sendmmsg recvmmsg shutdown""",
    "chance": "getrandom",
    "giving up more rights": "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp",
}

TRAPPED = {
    "other processes": "ptrace process_vm_readv process_vm_writev pidfd_getfd",
    "mounts": """
        mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr""",
    "namespaces": "setns unshare",
    "files by handle": "open_by_handle_at",
    "programs in the kernel": "bpf perf_event_open userfaultfd",
    "the kernel's keys": "add_key request_key keyctl",
    "the machine": """
        kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff iopl ioperm acct
        quotactl""",
}

FALLBACK_NEEDED = "clone3 openat2 io_uring_setup io_uring_enter io_uring_register"
"""Libraries try them first and do something else on ENOSYS; a filter cannot look into what they point to."""

HIDDEN_MEMORY = "memfd_create memfd_secret shmget"
"""Memory that no process has mapped: without a cgroup, nobody could count it."""

NEW_NAMESPACES = {
    "CLONE_NEWNS": 0x00020000,
    "CLONE_NEWCGROUP": 0x02000000,
    "CLONE_NEWUTS": 0x04000000,
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}

IOCTLS = {
    "TCGETS": 0x5401,
    "TIOCGPGRP": 0x540F,
    "TIOCOUTQ": 0x5411,
    "TIOCGWINSZ": 0x5413,
    "FIONREAD": 0x541B,
    "FIONBIO": 0x5421,
    "FIONCLEX": 0x5450,
    "FIOCLEX": 0x5451,
    "FIOASYNC": 0x5452,
    "FICLONE": 0x40049409,
    "FS_IOC_GETFLAGS": 0x80086601,
    "TCGETS2": 0x802C542A,
    "SIOCGIFNAME": 0x8910,
    "SIOCGIFCONF": 0x8912,
    "SIOCGIFFLAGS": 0x8913,
    "SIOCGIFADDR": 0x8915,
    "SIOCGIFMTU": 0x8921,
    "SIOCGIFINDEX": 0x8933,
}
TRAPPED_IOCTLS = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}
"""They type into the terminal of whoever started the engine."""

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_DGRAM, SOCK_TYPE = 1, 2, 0xF
IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, NETLINK_ROUTE = 0, 6, 17, 0
S_IFMT, S_IFIFO, S_ISUID, S_ISGID = 0o170000, 0o010000, 0o4000, 0o2000
O_CREAT, O_TMPFILE = 0o100, 0o20000000
MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "creat": 1}
"""Where they have a mode. In a folder that a plugin may write, a file with its owner's rights would lend those
of the engine's user to everybody on the host."""
THE_PERSONALITY = 0xFFFFFFFF  # asks for it; anything else sets it


def main() -> None:
    """Write all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ENGINE)
    parser.add_argument("--library", help="where libseccomp is, if not where the system looks")
    arguments = parser.parse_args()
    libseccomp = _libseccomp(arguments.library)
    calls = {machine: _calls(libseccomp, arch) for machine, (_, arch) in MACHINES.items()}
    profile = _profile(set().union(*calls.values()))
    files = {
        f"{NAME}.json": json.dumps(profile, indent=1).encode() + b"\n",
        **{f"{NAME}.{machine}.bpf": _compiled(libseccomp, profile, arch) for machine, (_, arch) in MACHINES.items()},
    }
    made = arguments.folder / "seccomp"
    made.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (made / name).write_bytes(content)
    (made / "digests.py").write_text(_digests(files))
    inside = arguments.folder / "inside"
    inside.mkdir(parents=True, exist_ok=True)
    (inside / "call_names.py").write_text(_call_names(calls))


def _libseccomp(library: str | None) -> ModuleType:
    """Import its Python side, which looks for the library when it is imported."""
    find = ctypes.util.find_library
    with mock.patch.object(
        ctypes.util, "find_library", lambda name: library if library and name == "seccomp" else find(name)
    ):
        import pyseccomp  # noqa: PLC0415  see above

        return pyseccomp


def _calls(libseccomp: ModuleType, arch: str) -> dict[str, int]:
    """Give every call of a machine by its name."""
    of_machine = getattr(libseccomp.Arch, arch)
    found = {}
    for number in range(MOST_CALLS):
        try:
            found[libseccomp.resolve_syscall(of_machine, number).decode()] = number
        except ValueError:
            continue
    return found


def _profile(known: set[str]) -> dict[str, Any]:
    allowed = {name for names in ALLOWED.values() for name in names.split()}
    trapped = {name for names in TRAPPED.values() for name in names.split()}
    conditional = list(_conditional())
    judged = allowed | trapped | {rule["names"][0] for rule in conditional}
    missing = judged - known
    if missing:
        raise SystemExit(f"libseccomp does not know {', '.join(sorted(missing))}")
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.ENOSYS,
        "architectures": [arch for arch, _ in MACHINES.values()],
        "syscalls": [
            _rule(sorted(allowed), "SCMP_ACT_ALLOW"),
            *conditional,
            _rule(sorted(trapped), "SCMP_ACT_TRAP"),
            # dockerd up to 20.10 knows no defaultErrnoRet and answers EPERM, on which libraries do not fall back:
            # glibc's clone3, above all. So all others are named.
            _rule(sorted((known | set(f"{FALLBACK_NEEDED} {HIDDEN_MEMORY}".split())) - judged), "SCMP_ACT_ERRNO"),
        ],
    }


def _conditional() -> Iterator[dict[str, Any]]:
    """Give rules that look at a call's arguments; a rule for each, as not every engine takes several in one."""
    every = sum(NEW_NAMESPACES.values())
    yield _rule(["clone"], "SCMP_ACT_ALLOW", (0, every, 0))
    for bit in NEW_NAMESPACES.values():
        yield _rule(["clone"], "SCMP_ACT_TRAP", (0, bit, bit))
    for request in IOCTLS.values():
        yield _rule(["ioctl"], "SCMP_ACT_ALLOW", (1, LOW_32_BITS, request))
    for request in TRAPPED_IOCTLS.values():
        yield _rule(["ioctl"], "SCMP_ACT_TRAP", (1, LOW_32_BITS, request))
    yield _rule(["socket"], "SCMP_ACT_ALLOW", (0, LOW_32_BITS, AF_UNIX))
    for family in (AF_INET, AF_INET6):
        for kind, protocols in ((SOCK_STREAM, (IPPROTO_IP, IPPROTO_TCP)), (SOCK_DGRAM, (IPPROTO_IP, IPPROTO_UDP))):
            for protocol in protocols:
                asked = ((0, LOW_32_BITS, family), (1, SOCK_TYPE, kind), (2, LOW_32_BITS, protocol))
                yield _rule(["socket"], "SCMP_ACT_ALLOW", *asked)
    yield _rule(["socket"], "SCMP_ACT_ALLOW", (0, LOW_32_BITS, AF_NETLINK), (2, LOW_32_BITS, NETLINK_ROUTE))
    yield _rule(["socketpair"], "SCMP_ACT_ALLOW", (0, LOW_32_BITS, AF_UNIX))
    yield _rule(["mknod"], "SCMP_ACT_ALLOW", (1, S_IFMT, S_IFIFO))
    yield _rule(["mknodat"], "SCMP_ACT_ALLOW", (2, S_IFMT, S_IFIFO))
    for name, mode in MODES.items():
        yield _rule([name], "SCMP_ACT_ALLOW", (mode, S_ISUID | S_ISGID, 0))
        for bit in (S_ISUID, S_ISGID):
            yield _rule([name], "SCMP_ACT_ERRNO", (mode, bit, bit), errno_=errno.EPERM)
    for name, flags in (("open", 1), ("openat", 2)):
        yield _rule([name], "SCMP_ACT_ALLOW", (flags, O_CREAT | O_TMPFILE, 0))
        yield _rule([name], "SCMP_ACT_ALLOW", (flags + 1, S_ISUID | S_ISGID, 0))
    yield _rule(["personality"], "SCMP_ACT_ALLOW", (0, LOW_32_BITS, THE_PERSONALITY))


def _rule(
    names: list[str], action: str, *conditions: tuple[int, int, int], errno_: int = errno.ENOSYS
) -> dict[str, Any]:
    """Make a rule; a condition is an argument's place, a mask, and what that must leave of the argument."""
    rule: dict[str, Any] = {"names": names, "action": action}
    if action == "SCMP_ACT_ERRNO":
        rule["errnoRet"] = errno_
    if conditions:
        rule["args"] = [
            {"index": index, "value": mask, "valueTwo": left, "op": "SCMP_CMP_MASKED_EQ"}
            for index, mask, left in conditions
        ]
    return rule


def _compiled(libseccomp: ModuleType, profile: dict[str, Any], arch: str) -> bytes:
    """Make the kernel's program for one machine; calls of other ABIs (i386, x32, 32-bit ARM) kill the process."""
    otherwise = _action(libseccomp, {"action": profile["defaultAction"], "errnoRet": profile["defaultErrnoRet"]})
    rules = libseccomp.SyscallFilter(otherwise)
    of_machine = getattr(libseccomp.Arch, arch)
    if libseccomp.system_arch() != of_machine:
        rules.add_arch(of_machine)
        rules.remove_arch(libseccomp.system_arch())
    rules.set_attr(libseccomp.Attr.ACT_BADARCH, libseccomp.KILL_PROCESS)
    rules.set_attr(libseccomp.Attr.CTL_OPTIMIZE, 2)  # a tree instead of a chain of hundreds
    for rule in profile["syscalls"]:
        action = _action(libseccomp, rule)
        conditions = [
            libseccomp.Arg(each["index"], libseccomp.MASKED_EQ, each["value"], each["valueTwo"])
            for each in rule.get("args", ())
        ]
        for name in rule["names"]:
            if action != otherwise:
                rules.add_rule(action, name, *conditions)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _action(libseccomp: ModuleType, rule: dict[str, Any]) -> int:
    actions: dict[str, int] = {
        "SCMP_ACT_ALLOW": libseccomp.ALLOW,
        "SCMP_ACT_TRAP": libseccomp.TRAP,
        "SCMP_ACT_ERRNO": libseccomp.ERRNO(rule.get("errnoRet", errno.EPERM)),
    }
    return actions[rule["action"]]


def _digests(files: dict[str, bytes]) -> str:
    lines = (f'    "{name}": "{hashlib.sha256(content).hexdigest()}",' for name, content in sorted(files.items()))
    return "\n".join(
        [
            '"""What the files beside this one must be. Written by deploy/seccomp/make_profile.py."""',
            "",
            "SHA256 = {",
            *lines,
            "}",
            "",
        ]
    )


def _call_names(calls: dict[str, dict[str, int]]) -> str:
    names = {name for family in TRAPPED.values() for name in family.split()} | {"clone", "ioctl"}
    lines = [
        '"""The trapped system calls by machine and number. Written by deploy/seccomp/make_profile.py."""',
        "",
        "CALLS = {",
    ]
    for machine in MACHINES:
        lines.append(f'    "{machine}": {{')
        numbers = {number: name for name, number in calls[machine].items() if name in names}
        lines.extend(f'        {number}: "{name}",' for number, name in sorted(numbers.items()))
        lines.append("    },")
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    main()
