"""The story on the screen, as `story.md`, and as a picture."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loopwright.demo.story.statistics import log_losses
from loopwright.demo.story.story import Story
from loopwright.demo.story.tables import StoryTable, story_tables, verdict

_WINDOW = 1_000


def show(story: Story, console: Console) -> None:
    for sheet in story_tables(story):
        console.print()
        console.print(_table(sheet))
    console.print()
    style = "bold green" if story.judgement.passed else "bold red"
    for line in verdict(story):
        console.print(line, style=style, markup=False)


def write(story: Story, directory: Path) -> None:
    """Leave `story.md` and `story.png`."""
    _plot(story, directory / "story.png")
    lines = ["# How the loop closed", "", *(f"- {line}" for line in verdict(story)), ""]
    lines += ["![Log loss over the stream](story.png)", ""]
    for sheet in story_tables(story):
        lines += _markdown(sheet)
    (directory / "story.md").write_text("\n".join(lines) + "\n")


def _table(sheet: StoryTable) -> Table:
    table = Table(title=sheet.title, title_justify="left", title_style="bold", box=None)
    for number, name in enumerate(sheet.header):
        table.add_column(
            name,
            justify="right" if number in sheet.numbers else "left",
            overflow="fold",
            no_wrap=number < len(sheet.header) - 2,
            header_style="dim",
        )
    for row in sheet.rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _markdown(sheet: StoryTable) -> Iterator[str]:
    yield f"## {sheet.title}"
    yield ""
    yield _line(sheet.header)
    yield _line(["--:" if n in sheet.numbers else "---" for n in range(len(sheet.header))])
    yield from (_line(row) for row in sheet.rows)
    yield ""


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _plot(story: Story, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.add_subplot()
    served = story.served
    answers = (("version 1", served.frozen_probability), ("served", served.probability))
    for name, probability in answers:
        losses = log_losses(served.yes, probability)
        window = min(_WINDOW, len(losses))
        smooth = np.convolve(losses, np.full(window, 1 / window), "valid")
        axes.plot(np.arange(len(smooth)) + window, smooth, label=name)
    for version, row in story.promotions:
        axes.axvline(row, color="grey", linewidth=0.8, linestyle=":")
        axes.annotate(f"v{version}", (row, axes.get_ylim()[1]), va="top")
    axes.set(xlabel="calls", ylabel=f"log loss, mean of {_WINDOW:,} calls")
    axes.legend(loc="center left")
    figure.savefig(path, dpi=120)
