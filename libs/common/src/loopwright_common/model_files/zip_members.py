"""Members of zip archives, held to the sizes that they declare."""

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipInfo

_CHUNK = 1 << 16
_HEADER = struct.Struct("<4s22xHH")
"""What stands before a member's content: a mark, and the lengths of a name and of more."""


def check_members(path: Path, members: Iterable[ZipInfo]) -> None:
    """ValueError unless each member unpacks to just the bytes that it declares.

    A reader that asks a member for all of it unpacks what the content is, and only then cuts it to
    the declared size; and it unpacks by some methods a whole block where it asked for a byte.
    """
    members = list(members)
    if sum(member.compress_size for member in members) > path.stat().st_size:
        raise ValueError("its members lie upon each other")
    with path.open("rb") as file:
        for member in members:
            file.seek(member.header_offset)
            mark, name, more = _HEADER.unpack(file.read(_HEADER.size))
            if mark != b"PK\x03\x04":
                raise ValueError(f"{member.filename:.60} is not where it is said to be")
            file.seek(name + more, 1)
            _check_member(file.read(member.compress_size), member)


def _check_member(content: bytes, member: ZipInfo) -> None:
    if member.compress_type == ZIP_STORED:
        size = len(content)
    elif member.compress_type == ZIP_DEFLATED:
        size = _inflated(content, member.file_size)
    else:
        raise ValueError(f"{member.filename:.60} is packed by another method than deflate")
    if size != member.file_size or member.flag_bits & 1:
        raise ValueError(f"{member.filename:.60} does not unpack to {member.file_size} bytes")


def _inflated(content: bytes, limit: int) -> int:
    """Bytes that a content unpacks to, counted to one beyond the limit."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    try:
        while size <= limit and not unpacker.eof:
            unpacked = len(unpacker.decompress(content, _CHUNK))
            content = unpacker.unconsumed_tail
            if not unpacked and not content:
                break
            size += unpacked
    except zlib.error as error:
        raise ValueError(f"a member does not unpack: {error}") from None
    return size
