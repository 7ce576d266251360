"""Paths that a directory can hold, and texts that are shown as they are."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_common.errors import CorruptError, InvalidError
from loopwright_common.names import check_name, path_fault, shown
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


PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
REAL = [
    "fraud", "Modèle n° 2", "kre\u0301dit", "信用評価", "葛\U000e0100城", "신용 평가", "क्षेत्र",
    "ශ්\u200dරී", "क्\u200dष", PERSIAN, "דֶּגֶם", "مُعَلِّم", "ᠮᠣᠩᠭᠣᠯ\u180bᠠ", "โมเดล",
    "Модель", "👨\u200d👩\u200d👧", "👩🏽\u200d🔬", "🏳\ufe0f\u200d🌈", "❤\ufe0f\u200d🔥",
    "⛹🏽\u200d♀\ufe0f", "1\ufe0f\u20e3", "❤\ufe0f",
]  # fmt: skip
UNSEEN = {
    "a\u200bb": "U+200B ZERO WIDTH SPACE",
    "a\u2060b": "U+2060 WORD JOINER",
    "a\ufeffb": "U+FEFF ZERO WIDTH NO-BREAK SPACE",
    "a\u00adb": "U+00AD SOFT HYPHEN",
    "a\u202egpj": "U+202E RIGHT-TO-LEFT OVERRIDE",
    "a\u2066b\u2069": "U+2066 LEFT-TO-RIGHT ISOLATE",
    "\u05d0\u200e": "U+200E LEFT-TO-RIGHT MARK",
    "a\u061cb": "U+061C ARABIC LETTER MARK",
    "a\nb": "U+000A (a control character)",
    "a\x7fb": "U+007F (a control character)",
    "a\u2028b": "U+2028 LINE SEPARATOR",
    "a\ue000b": "U+E000 (a character of private use)",
    "a\u0378b": f"U+0378 (assigned to nobody in Unicode {unicodedata.unidata_version})",
    "a\udc80b": "U+DC80 (half of a pair)",
    "a\u3164b": "U+3164 HANGUL FILLER",
    "a\u034fb": "U+034F COMBINING GRAPHEME JOINER",
    "a\U000e0041b": "U+E0041 TAG LATIN CAPITAL LETTER A",
    " a": "begins or ends with U+0020 SPACE",
    "a\u3000": "begins or ends with U+3000 IDEOGRAPHIC SPACE",
    "a\n": "begins or ends with U+000A (a control character)",
    "a\u200db": "U+200D ZERO WIDTH JOINER",
    "a\u200cb": "U+200C ZERO WIDTH NON-JOINER",
    "क्\u200d": "U+200D ZERO WIDTH JOINER",
    "دو\u200cم": "U+200C ZERO WIDTH NON-JOINER",
    "👩\u200d": "U+200D ZERO WIDTH JOINER",
    "👩\u200da": "U+200D ZERO WIDTH JOINER",
    "👩\u200d\u200d👧": "U+200D ZERO WIDTH JOINER",
    "\u200d": "U+200D ZERO WIDTH JOINER",
    "a\ufe0f": "U+FE0F VARIATION SELECTOR-16",
    "1\ufe0f": "U+FE0F VARIATION SELECTOR-16",
    "❤\ufe0f\ufe0f": "U+FE0F VARIATION SELECTOR-16",
    "a\U000e0100": "U+E0100 VARIATION SELECTOR-17",
    "a\u180b": "U+180B MONGOLIAN FREE VARIATION SELECTOR ONE",
    "\ufe00": "U+FE00 VARIATION SELECTOR-1",
}
VISIBLE = st.text(
    st.characters(
        categories=["L", "Mc", "N", "P", "S"],
        exclude_characters="\u115f\u1160\u2800\u3164\uffa0",
    ),
    min_size=1,
)
HIDDEN = st.characters(
    categories=["Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"], exclude_characters="\u200c\u200d"
)


@pytest.mark.parametrize("name", REAL)
def test_real_names_of_any_script_are_allowed(name: str) -> None:
    check_name("name", name)


@given(st.lists(VISIBLE, min_size=1))
def test_whatever_is_shown_is_allowed(words: list[str]) -> None:
    check_name("name", " ".join(words))


@pytest.mark.parametrize(("name", "told"), UNSEEN.items())
def test_what_is_not_shown_is_refused_with_field_character_and_remedy(name: str, told: str) -> None:
    with pytest.raises(InvalidError) as refused:
        check_name("alias", name)

    said = str(refused.value)
    assert told in said
    assert said.startswith("alias '")
    assert said.endswith("; leave it out")
    assert refused.value.field == "alias"
    assert said.isprintable()


@given(VISIBLE, HIDDEN, VISIBLE)
def test_what_is_never_shown_is_refused_wherever_it_stands(
    before: str, hidden: str, after: str
) -> None:
    for name in (before + hidden + after, hidden + after, before + hidden, hidden):
        with pytest.raises(InvalidError, match=f"U\\+{ord(hidden):04X}\\b"):
            check_name("name", name)


@given(st.text(st.sampled_from("aब्\u200c\u200dمد❤👩🏽\ufe0f1\u20e3"), max_size=6))
def test_two_names_that_are_allowed_differ_in_more_than_what_follows_a_letter(name: str) -> None:
    """Whatever joiner is allowed stands between two characters that are shown."""
    try:
        check_name("name", name)
    except InvalidError:
        return
    for position, character in enumerate(name):
        if character in "\u200c\u200d":
            assert name[position - 1 : position] not in ("", "a", "1", "د", "\u200c", "\u200d")
            assert name[position + 1 : position + 2] not in ("", "a", "1", "\u200c", "\u200d")
