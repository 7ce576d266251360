"""What a person may do about a deployment that waits for one, as lines to paste."""

import shlex
from collections.abc import Sequence

from loopwright.output import Row, console, show_items


def show_offers(record: Row) -> None:
    """A line to paste for each thing that is possible now, and what comes of it; or nothing."""
    offered = [
        {"a person may": line, "then": offer["effect"]}
        for line, offer in zip(lines(record), record["may"], strict=True)
    ]
    if offered:
        console.print()
        show_items(offered, ["a person may", "then"], as_json=False)


def lines(record: Row) -> Sequence[str]:
    """The commands of what is possible now; a skip takes a reason in the place of the dots."""
    name = shlex.quote(f"{record['model']}/{record['version']}")
    return [
        f"loopwright deployments {offer['verb']} {name}"
        + (f' {offer["gate"]} --reason "..."' if offer["gate"] else "")
        for offer in record["may"]
    ]
