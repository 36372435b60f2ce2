"""The file system as a parsing process sees it: libraries to read, one folder to write, by the kernel's Landlock.

Through ctypes, so that it needs no library. Linux 5.13 and later; the numbers are the same on every machine.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_RIGHTS_OF_VERSION = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights over files each version of Landlock knows."""
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_FILE_RIGHTS = _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_CONTROL
_TCP_SINCE, _BIND_AND_CONNECT = 4, 3
_SCOPES_SINCE, _SOCKETS_AND_SIGNALS = 6, 3


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """The kernel's version of Landlock; 0 where it has none, or it is switched off."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


def restrict(*, readable: Iterable[Path], writable: Path) -> None:
    """Leaves this process these places, no TCP and no signal to others, for good. Raises OSError where the kernel refuses."""
    present = version()
    rights = (1 << _RIGHTS_OF_VERSION.get(present, 16)) - 1
    ruleset = _Ruleset(
        rights,
        _BIND_AND_CONNECT if present >= _TCP_SINCE else 0,
        _SOCKETS_AND_SIGNALS if present >= _SCOPES_SINCE else 0,
    )
    size = 8 if present < _TCP_SINCE else 16 if present < _SCOPES_SINCE else 24
    rules = _call(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for place in readable:
            _allow(rules, place, _READ_FILE | _READ_DIR)
        _allow(rules, Path(os.devnull), _READ_FILE | _WRITE_FILE)
        _allow(rules, writable, rights & ~_EXECUTE)
        _call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)


def _allow(rules: int, place: Path, rights: int) -> None:
    try:
        folder = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there need not be allowed
    try:
        rule = _Rule(rights if place.is_dir() else rights & _FILE_RIGHTS, folder)
        _call(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(folder)


def _call(number: int, *arguments: object) -> int:
    answer: int = _library().syscall(number, *arguments)
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
