"""Path patterns of triggers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright_trainer.pipelines.globs import any_matches


@pytest.mark.parametrize(
    ("path", "pattern", "matches"),
    [
        ("train.py", "**/*.py", True),
        ("a/b/train.py", "**/*.py", True),
        ("a/b.py", "*.py", False),
        ("a/b/c", "a/**", True),
        ("ab", "a?", True),
        ("a.b", "a?b", True),
        ("params.yaml", "params.yaml", True),
    ],
)
def test_trigger_patterns(path: str, pattern: str, matches: bool) -> None:
    assert any_matches([path], [pattern]) is matches


MEANINGS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "a": "a", "b": "b", "/": "/"}
PATTERNS = (
    st.lists(st.sampled_from(sorted(MEANINGS)), max_size=6)
    .map("".join)
    .filter(lambda pattern: "***" not in pattern)
)


@given(st.text("ab/", max_size=8), PATTERNS)
def test_patterns_mean_what_their_regular_expressions_do(path: str, pattern: str) -> None:
    meant = "".join(MEANINGS[part] for part in re.findall(r"\*\*/|\*\*|.", pattern))
    assert any_matches([path], [pattern]) == bool(re.fullmatch(meant, path))


@pytest.mark.parametrize("pattern", ["*a" * 50 + "*b", "**/*a" * 30 + "b", "**a" * 50 + "b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    """A regular expression would try every way to share the path among the stars."""
    assert not any_matches(["a" * 200, "a/" * 60], [pattern])
    assert any_matches(["a" * 200 + "b"], [pattern])


def test_one_of_many_patterns_is_enough() -> None:
    assert any_matches(["docs/x.md", "src/a.py"], ["data/**", "src/*.py", "x"])
    assert not any_matches(["docs/x.md", "src/a/b.py"], ["data/**", "src/*.py", "x"])
    assert not any_matches(["x"], [])
