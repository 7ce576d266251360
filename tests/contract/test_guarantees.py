"""The page of guarantees names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "guarantees.md"


def test_every_test_that_a_promise_names_exists() -> None:
    source = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", source))
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))

    assert len(named) > 30
    assert named - defined == set()
