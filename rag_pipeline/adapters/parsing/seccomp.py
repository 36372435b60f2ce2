"""A filter of system calls for a parsing process: no network, no program, no process, no reach into another.

Built and installed through ctypes, so that it needs no library. Linux on x86_64 and aarch64.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the numbers below, and the kernel's name of the machine (``AUDIT_ARCH_*``)."""

_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # the network, and other ways to talk to processes
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "recvmsg": (47, 212),
    "recvmmsg": (299, 243),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # programs and processes
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "setpriority": (141, 140),
    # the memory of others
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    # ways around this filter
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    # the machine
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "fanotify_init": (300, 262),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
}
_CLONE, _CLONE3, _PRLIMIT = (56, 220), (435, 435), (302, 261)
_SIGNALS = ((62, 129), (234, 131))
"""``kill`` and ``tgkill``: a process may still end itself, as ``abort`` does."""

_CLONE_THREAD = 0x00010000
_X32 = 0x40000000
_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2

Instruction = tuple[int, int, int, int]
"""Of the kernel's packet filter: operation, steps over if true, steps over if false, operand."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def is_possible() -> bool:
    """Whether a filter is written for this machine."""
    return sys.platform == "linux" and platform.machine() in _MACHINES and sys.maxsize > 2**32


def forbid_privileges() -> None:
    """Nothing that this process starts may ever have more rights. Raises OSError where the kernel refuses."""
    _control(_PR_SET_NO_NEW_PRIVS, 1)


def install_filter() -> None:
    """Puts the filter in force for this process, for good. Raises OSError where the kernel refuses."""
    column, machine = _MACHINES[platform.machine()]
    code = b"".join(struct.pack("HBBI", *step) for step in _program(column, machine))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    _control(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def _program(column: int, machine: int) -> Iterator[Instruction]:
    """Every refused call answers EACCES; calls of another machine's kind end the process."""
    yield (_LOAD, 0, 0, _MACHINE)
    yield (_EQUAL, 1, 0, machine)
    yield (_RETURN, 0, 0, _KILL)
    yield (_LOAD, 0, 0, _NUMBER)
    if column == 0:
        yield (_GREATER_EQUAL, 0, 1, _X32)
        yield (_RETURN, 0, 0, _KILL)
    for number in sorted({numbers[column] or 0 for numbers in _REFUSED.values() if numbers[column] is not None}):
        yield (_EQUAL, 0, 1, number)
        yield (_RETURN, 0, 0, _ERROR | errno.EACCES)
    yield (_EQUAL, 0, 1, _CLONE3[column])
    yield (_RETURN, 0, 0, _ERROR | errno.ENOSYS)  # the C library then starts its threads by clone, whose flags can be read here
    yield (_EQUAL, 0, 4, _CLONE[column])
    yield (_LOAD, 0, 0, _FIRST_ARGUMENT)
    yield (_ANY_BIT, 0, 1, _CLONE_THREAD)
    yield (_RETURN, 0, 0, _ALLOW)
    yield (_RETURN, 0, 0, _ERROR | errno.EACCES)
    own = os.getpid()
    for number, targets in ((_PRLIMIT[column], (0, own)), *((signal[column], (own,)) for signal in _SIGNALS)):
        yield (_EQUAL, 0, 2 + 2 * len(targets), number)
        yield (_LOAD, 0, 0, _FIRST_ARGUMENT)
        for target in targets:
            yield (_EQUAL, 0, 1, target)
            yield (_RETURN, 0, 0, _ALLOW)
        yield (_RETURN, 0, 0, _ERROR | errno.EACCES)
    yield (_RETURN, 0, 0, _ALLOW)


def _control(option: int, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) for word in (*arguments, 0, 0, 0, 0)[:4]]
    if library.prctl(ctypes.c_int(option), *words) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
