"""The pages of promises name tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGES = [TESTS.parent / "docs" / page for page in ("guarantees.md", "security.md")]


def test_every_test_that_a_promise_names_exists() -> None:
    source = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", source))
    named = set(re.findall(r"`(test_\w+)`", "\n".join(page.read_text() for page in PAGES)))

    assert len(named) > 30
    assert named - defined == set()
