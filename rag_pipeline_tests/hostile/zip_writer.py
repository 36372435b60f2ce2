"""Zip files with whatever a directory may claim, written part by part."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a zip file, and what is claimed of it."""

    name: str
    packed: bytes
    size: int
    """Unpacked, as claimed."""
    check_sum: int
    method: int = 8


def part(name: str, data: bytes, *, claimed_size: int | None = None) -> Part:
    """An honest part, but for the size where one is given."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    return Part(name, packed, len(data) if claimed_size is None else claimed_size, zlib.crc32(data))


def blank_part(name: str, megabytes: int) -> Part:
    """So many MiB of blanks, packed one MiB at a time; its check sum is not true, as nobody gets that far."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    one = packer.compress(b" " * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return Part(name, one * megabytes + b"\x03\x00", megabytes << 20, 0)


def write_zip(parts: Sequence[Part], *, copies_of_last: int = 0) -> bytes:
    """The file; ``copies_of_last`` more entries of the directory stand for the same bytes as the last part."""
    out = bytearray()
    directory = bytearray()
    count = 0
    for item in parts:
        name = item.name.encode()
        offset = len(out)
        sizes = (item.check_sum, len(item.packed), item.size)
        out += _LOCAL.pack(b"PK\3\4", 20, 0, item.method, 0, 0x21, *sizes, len(name), 0) + name + item.packed
        repeats = copies_of_last if item is parts[-1] else 0
        for _ in range(1 + repeats):
            directory += (
                _CENTRAL.pack(b"PK\1\2", 20, 20, 0, item.method, 0, 0x21, *sizes, len(name), 0, 0, 0, 0, 0, offset) + name
            )
            count += 1
    end = _END.pack(b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(directory), len(out), 0)
    return bytes(out + directory + end)
