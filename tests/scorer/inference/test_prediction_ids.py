"""Prediction ids: sealed, and no other text is one."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from loopwright_common.ids import new_id
from loopwright_scorer.inference.prediction_ids import PredictionIds, load_key

IDS = PredictionIds(b"k" * 32)


@given(st.integers(1, 10**9 - 1), st.integers(0, 9_999_999))
def test_ids_survive_a_round_trip(version: int, row: int) -> None:
    sealed = IDS.issue(new_id(), version, "m-1")

    assert IDS.row_id(f"{sealed}.{row}", "m-1") == f"{sealed}.{row}"
    assert IDS.row_id(f"{sealed}.{row}", "m-2") is None
    assert PredictionIds(b"other").row_id(sealed, "m-1") is None


@given(st.text(max_size=80))
def test_any_other_text_is_no_id(text: str) -> None:
    assert IDS.row_id(text, "m-1") is None


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "key"
    key = load_key(path)

    assert load_key(path) == key
    assert len(key) == 32
    assert path.stat().st_mode & 0o077 == 0
