"""The chain of a version as a tree: each event below what caused it."""

from io import StringIO
from typing import Any

from rich.console import Console

from loopwright.cli.models import split
from loopwright.cli.why import tree_of


def test_events_hang_below_their_causes() -> None:
    events: list[dict[str, Any]] = [
        {
            "id": "c",
            "type": "dev.loopwright.code-changed.v1",
            "time": "2026-01-01T00:00:00Z",
            "data": {"commit": "9f2c1a0b77", "author": "a@example.org", "message": "Start\n\nmore"},
        },
        {
            "id": "m",
            "type": "dev.loopwright.model-registered.v1",
            "time": "2026-01-01T00:00:09Z",
            "causes": "c",
            "sentence": "version 1 [onnx]",
        },
    ]
    console = Console(width=120, record=True, file=StringIO())
    console.print(tree_of("bank @champion", events))
    lines = console.export_text().splitlines()
    assert "commit 9f2c1a0b by a@example.org: Start" in lines[1]
    assert "version 1 [onnx]" in lines[2]
    assert lines[2].index("model-registered") > lines[1].index("code-changed")


def test_models_are_named_with_version_or_alias() -> None:
    assert split("bank") == ("bank", None)
    assert split("bank/3") == ("bank", "3")
    assert split("bank@champion") == ("bank", "@champion")
    assert split("team/bank") == ("team/bank", None)
