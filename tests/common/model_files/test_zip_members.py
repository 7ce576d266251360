"""Archives whose members are more than they say, or lie where they should not."""

import struct
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.model_files import check_model_file


def zeros(size: int) -> bytes:
    """So many bytes as raw deflate, a thousandth of it: packed once, and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (size >> 20) + packer.flush()


def archive_of(path: Path, content: bytes, declared: int) -> Path:
    """`schema.json` of this deflated content, which says that it unpacks to `declared` bytes."""
    name, crc = b"schema.json", zlib.crc32(bytes(declared))
    fields = struct.pack("<HHHHHLLLHH", 20, 0, 8, 0, 33, crc, len(content), declared, len(name), 0)
    local = b"PK\x03\x04" + fields + name
    central = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHLL", 0, 0, 0, 0, 0)
    end = struct.pack("<HHHHLLH", 0, 0, 1, 1, len(central + name), len(local + content), 0)
    path.write_bytes(local + content + central + name + b"PK\x05\x06" + end)
    return path


@pytest.mark.parametrize(
    ("declared", "why"), [(16, "does not unpack to 16 bytes"), (1 << 30, "takes more than")]
)
def test_a_megabyte_that_unpacks_to_a_gigabyte_is_refused_at_once(
    tmp_path: Path, declared: int, why: str
) -> None:
    bomb = archive_of(tmp_path / "model.skops", zeros(1 << 30), declared)
    assert bomb.stat().st_size < 2 << 20
    started = time.process_time()

    with pytest.raises(InvalidError, match=why):
        check_model_file(bomb, "sklearn-skops")
    assert time.process_time() - started < 2


def test_the_archive_is_one_that_zipfile_reads(tmp_path: Path) -> None:
    """Else the bombs of this file were refused for another reason."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = packer.compress(bytes(16)) + packer.flush()

    with zipfile.ZipFile(archive_of(tmp_path / "a.zip", content, 16)) as archive:
        assert archive.read("schema.json") == bytes(16)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_unpacks_whole_blocks_is_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w", method) as made:
        made.writestr("schema.json", "{}")

    with pytest.raises(InvalidError, match="another method than deflate"):
        check_model_file(tmp_path / "model.skops", "sklearn-skops")


def test_members_that_share_their_content_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("schema.json", "{}")
        made.writestr("a.npy", bytes(4 << 20))
        entry = made.infolist()[1]
        for number in range(200):
            twin = zipfile.ZipInfo(f"{number}.npy")
            twin.compress_type, twin.CRC = entry.compress_type, entry.CRC
            twin.compress_size, twin.file_size = entry.compress_size, entry.file_size
            twin.header_offset = entry.header_offset
            made.filelist.append(twin)

    with pytest.raises(InvalidError, match="lie upon each other"):
        check_model_file(path, "sklearn-skops")
