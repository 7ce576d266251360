"""Paths that a directory can hold, and texts that are shown as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_common.errors import CorruptError, InvalidError
from loopwright_common.names import path_fault, shown
from loopwright_common.storage import PackageFile, manifest_of, parse_manifest


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("a/b", None),
        ("d/" * 64 + "f", None),
        ("d/" * 65 + "f", "lies over 64 directories deep"),
        ("é" * 127, None),
        ("é" * 128, "has a name of over 255 bytes"),
        ("/".join(["x" * 255] * 12), None),
        ("/".join(["x" * 255] * 12 + ["y"]), "has over 3072 bytes"),
        ("\udcff" * 256, "has a name of over 255 bytes"),
    ],
)
def test_what_hinders_a_path_is_said(path: str, fault: str | None) -> None:
    assert path_fault(path) == fault


def test_no_package_has_a_path_that_cannot_be_written_back() -> None:
    digest = f"sha256:{'0' * 64}"
    deep = PackageFile("d/" * 65 + "f", digest, 1)
    with pytest.raises(InvalidError, match="f lies over 64 directories deep; give a shorter path"):
        manifest_of([deep])
    written = manifest_of([PackageFile("f", digest, 1)]).replace(b'"f"', f'"{deep.path}"'.encode())
    with pytest.raises((InvalidError, CorruptError), match="64 directories deep"):
        parse_manifest(written)


@given(st.text(alphabet=st.characters(), max_size=300))
def test_what_is_shown_is_short_and_obeyed_by_nobody(text: str) -> None:
    told = shown(text)
    told.encode()
    assert all(character.isprintable() or character.isspace() for character in told)
    assert not {"\n", "\r", "\t", "\x1b", "\x85", "\u2028", "\u202e", "\u200e"} & set(told)
    assert len(told) <= 2000
    if text.isprintable() and len(text) <= 200:
        assert told == text
