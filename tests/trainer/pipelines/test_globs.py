"""Path patterns of triggers."""

import pytest

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
