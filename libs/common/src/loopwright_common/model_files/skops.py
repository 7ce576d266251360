"""skops files: zip archives whose schema names members, each of which may be a zip archive."""

import json
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from loopwright_common.errors import without_paths
from loopwright_common.model_files.zip_members import check_members

_MOST_BYTES = 1 << 30
_MOST_MEMBERS = 1 << 18
_MOST_SCHEMA = 64 << 20
_MOST_RATIO = 4
"""Times a file's own size, for models that are larger than `_MOST_BYTES` themselves."""


def check_skops(path: Path) -> None:
    """ValueError or LookupError says why the file is not to be unpacked."""
    limit = max(_MOST_BYTES, _MOST_RATIO * path.stat().st_size)
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
            _check_declared(entries, limit)
            check_members(path, entries)
            _check_archive(archive, limit)
    except (BadZipFile, EOFError, NotImplementedError, OSError, struct.error) as error:
        raise ValueError(f"no zip archive: {without_paths(error)}") from None


def _check_declared(entries: list[ZipInfo], limit: int) -> None:
    sizes = {entry.filename: entry.file_size for entry in entries}
    if len(sizes) != len(entries):
        raise ValueError("a member comes twice")
    if len(entries) > _MOST_MEMBERS:
        raise ValueError(f"it has more than {_MOST_MEMBERS} members")
    if sizes["schema.json"] > _MOST_SCHEMA:
        raise ValueError(f"its schema takes more than {_MOST_SCHEMA} bytes")
    if sum(sizes.values()) > limit:
        raise ValueError(f"it unpacks to more than {limit} bytes")


def _check_archive(archive: ZipFile, limit: int) -> None:
    """Each member counts as often as a reader unpacks it."""
    sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    unpacked = 0
    for name in _members_read(json.loads(archive.read("schema.json"))):
        unpacked += sizes[name]
        if unpacked <= limit:
            unpacked += _size_within(archive, name)
        if unpacked > limit:
            raise ValueError(f"it unpacks to more than {limit} bytes")


def _size_within(archive: ZipFile, name: str) -> int:
    """Bytes that a member unpacks to where it is an archive, as sparse matrices are."""
    with archive.open(name) as member:
        head = member.read(2)
        if head != b"PK":
            return 0
        with ZipFile(BytesIO(head + member.read())) as inner:
            return sum(entry.file_size for entry in inner.infolist())


def _members_read(schema: Any) -> Iterator[str]:
    """The members in the schema's order, each as often as a reader unpacks it."""
    read: set[Any] = set()
    left = [schema]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left.extend(node)
        elif isinstance(node, dict) and (known := node.get("__id__")) not in read:
            if known is not None:
                read.add(known)
            if "file" in node:
                yield str(node["file"])
            left.extend(node.values())
