"""XGBoost's binary documents: read as it wrote them, and no further than they go."""

import json

import numpy as np
import pytest

from loopwright_common.model_files import ubjson
from tests.common.model_files.models import xgboost_model


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, object]:
    directory = tmp_path_factory.mktemp("documents")
    binary = xgboost_model(directory / "model.ubj").read_bytes()
    return binary, json.loads(xgboost_model(directory / "model.json").read_bytes())


def test_a_document_says_what_xgboosts_json_says(documents: tuple[bytes, object]) -> None:
    binary, text = documents

    assert plain(ubjson.loads(binary)) == plain(text)


def plain(value: object) -> object:
    """As lists and dictionaries, with figures as 32 bits have them."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (list, np.ndarray)):
        return [plain(each) for each in value]
    return float(np.float32(value)) if isinstance(value, (int, float, np.number)) else value


def test_wherever_a_document_is_cut_it_says_so(documents: tuple[bytes, object]) -> None:
    binary, _ = documents
    for end in range(0, len(binary), 37):
        with pytest.raises(ValueError, match=r"wanted at byte|ends in the middle"):
            ubjson.loads(binary[:end])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{i\x01ai\x01i\x01ai\x02}", "comes twice"),
        (b"[" * 65, "more than 64 levels"),
        (b"[$l#L\x7f" + b"\xff" * 7, "wanted at byte"),
        (b"[$l#i\xff", "begins no length"),
        (b"[#L\x7f" + b"\xff" * 7 + b"Z", "ends in the middle"),
        (b"[$S#i\x01", "no array of numbers"),
        (b"Si\xffabc", "begins no length"),
        (b"{}Z", "1 bytes after the end"),
        (b"H", "begins no value"),
        (b"", "ends in the middle"),
    ],
)
def test_what_xgboost_never_writes_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ubjson.loads(content)
