"""skops files are held to what they unpack to before anything is."""

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from loopwright_common.errors import InvalidError
from loopwright_common.model_files import check_model_file
from tests.common.model_files.models import skops_model

ARRAY = {"__class__": "ndarray", "__module__": "numpy", "__loader__": "DictNode"}


def archive(path: Path, schema: Any, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("schema.json", json.dumps(schema))
        for name, content in members.items():
            made.writestr(name.replace("_", "."), content)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_skops_saves_passes(tmp_path: Path, compression: int) -> None:
    model = skops_model(tmp_path / "model.skops", compression=compression)

    check_model_file(model, "sklearn-skops")


def test_a_bomb_is_refused_at_once(tmp_path: Path) -> None:
    schema = {"content": [{**ARRAY, "type": "numpy", "file": "a.npy"}]}
    model = archive(tmp_path / "model.skops", schema, a_npy=bytes(2 << 20))
    content = model.read_bytes()
    # A gigabyte takes seconds to pack: the sizes that it declares are what a reader goes by.
    for size in (len(bytes(2 << 20)).to_bytes(4, "little"),):
        content = content.replace(size, (3 << 30).to_bytes(4, "little"))
    model.write_bytes(content)
    started = time.monotonic()

    with pytest.raises(InvalidError, match=r"model\.skops .*unpacks to more than 1073741824 bytes"):
        check_model_file(model, "sklearn-skops")
    assert time.monotonic() - started < 5


def test_a_member_that_is_read_again_and_again_counts_each_time(tmp_path: Path) -> None:
    one = {**ARRAY, "type": "numpy", "file": "a.npy"}
    again = {"content": [one] * 600}
    with pytest.raises(InvalidError, match="unpacks to more than"):
        check_model_file(
            archive(tmp_path / "model.skops", again, a_npy=bytes(2 << 20)), "sklearn-skops"
        )

    shared = {"content": [{**one, "__id__": 7}] * 600}
    check_model_file(
        archive(tmp_path / "model.skops", shared, a_npy=bytes(2 << 20)), "sklearn-skops"
    )


def test_archives_within_it_count(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("data.npy", bytes(2 << 20))
    schema = {"content": [{**ARRAY, "file": "m.npz"}] * 600}
    model = archive(tmp_path / "model.skops", schema, m_npz=inner.getvalue())

    with pytest.raises(InvalidError, match="unpacks to more than"):
        check_model_file(model, "sklearn-skops")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 nothing else", b'{"no": "archive"}', b"PK\x05\x06" + bytes(18)]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.skops").write_bytes(content)

    with pytest.raises(InvalidError, match=r"model\.skops is damaged, or no skops model"):
        check_model_file(tmp_path / "model.skops", "sklearn-skops")
