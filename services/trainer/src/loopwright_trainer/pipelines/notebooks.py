"""The rule that notebooks are committed without outputs."""

import json

from loopwright_trainer.git.tree import Tree


def with_outputs(tree: Tree) -> list[str]:
    """Paths of notebooks whose cells hold outputs, or that cannot be read."""
    names = sorted(name for name in tree.entries if name.endswith(".ipynb"))
    return [name for name in names if _has_outputs(tree.read(name) or b"")]


def _has_outputs(content: bytes) -> bool:
    try:
        cells = json.loads(content)["cells"]
        return any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True
