"""Stages in an order that can be run: after those whose outputs or names they need."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

from loopwright_trainer.pipelines.stages import Stage
from loopwright_trainer.pipelines.yaml_source import YamlNode


def inside(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies below it."""
    return directory in (".", path) or path.startswith(f"{directory}/")


def overlap(path: str, other: str) -> bool:
    return inside(path, other) or inside(other, path)


def sort_stages(stages: Sequence[tuple[Stage, YamlNode]]) -> tuple[Stage, ...]:
    """The stages as they may run one after another; FileError for a cycle or a clash."""
    by_name: dict[str, tuple[Stage, YamlNode]] = {}
    for stage, node in stages:
        if stage.name in by_name:
            node.reject(f"a second stage named {stage.name}")
        by_name[stage.name] = (stage, node)
    _no_shared_outputs(stages)
    graph = {stage.name: _before(stage, node, by_name) for stage, node in stages}
    try:
        names = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        by_name[error.args[1][0]][1].reject(f"stages need each other: {circle}")
    return tuple(by_name[name][0] for name in names)


def _before(
    stage: Stage, node: YamlNode, by_name: dict[str, tuple[Stage, YamlNode]]
) -> dict[str, None]:
    """Names of the stages that come before; a dict, because its order is fixed."""
    before = dict.fromkeys(stage.needs)
    for name in stage.needs:
        if name not in by_name:
            known = ", ".join(sorted(by_name))
            node.reject(f"needs {name!r}, which is no stage; there are {known}")
    for other, _ in by_name.values():
        produced = any(overlap(dep, out) for dep in stage.deps for out in other.outs)
        if produced and other.name != stage.name:
            before[other.name] = None
    return before


def _no_shared_outputs(stages: Sequence[tuple[Stage, YamlNode]]) -> None:
    owners: list[tuple[str, str]] = []
    for stage, node in stages:
        for out in stage.outs:
            for other, owner in owners:
                if overlap(out, other):
                    node.reject(f"out {out} overlaps out {other} of stage {owner}")
            owners.append((out, stage.name))
        own = [dep for dep in stage.deps if any(inside(dep, out) for out in stage.outs)]
        if own:
            node.reject(f"{own[0]} is both dep and out")
