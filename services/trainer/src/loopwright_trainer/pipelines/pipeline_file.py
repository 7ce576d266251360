"""A repository's pipeline file, read and checked as a whole."""

import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from loopwright_common.deploy_policy import (
    DeployPolicy,
    DetectionPolicy,
    DriftTrigger,
    MonitorPolicy,
    Policy,
)
from loopwright_common.policy_reader import PolicyError, read_policy
from loopwright_trainer.pipelines import stage_order, templates
from loopwright_trainer.pipelines.file_faults import FaultCollector, FileError, FileFault
from loopwright_trainer.pipelines.params import DEFAULT_FILE, read_params
from loopwright_trainer.pipelines.pipeline import (
    CheckRule,
    CodeTrigger,
    Pipeline,
    Registration,
)
from loopwright_trainer.pipelines.stages import Stage, read_stage
from loopwright_trainer.pipelines.yaml_source import YamlNode, load

FILE = "loopwright.yaml"
DVC_FILE = "dvc.yaml"
ReadFile = Callable[[str], bytes | None]
"""Content of a file of the commit, or None where there is none."""
_KEYS = frozenset(
    {"model", "pipeline", "stages", "captured", "register", "checks", "triggers"}
    | {"monitor", "deploy", "vars"}
)
_TRIGGERS = frozenset({"code", "schedule", "drift"})
_DVC_KEYS = frozenset({"stages", "vars", "params", "metrics", "plots", "artifacts", "datasets"})
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
_CRON = re.compile(r"[\d*/,\-A-Za-z]+( [\d*/,\-A-Za-z]+){4}")
_OTHER_TABLES = re.compile(
    r"\.(csv|tsv|txt|jsonl?|ndjson|feather|arrow|orc|avro|xlsx?|pkl|pickle|npy|npz|h5)"
    r"(\.(gz|bz2|xz|zst|zip))?$",
    re.IGNORECASE,
)
_MOST_PATTERNS, _LONGEST_PATTERN = 100, 200
P = TypeVar("P", bound=Policy)
T = TypeVar("T")


def read_pipeline(read: ReadFile, default_name: str) -> Pipeline:
    """The pipeline of a commit; FileError says all that is wrong, where, and what is allowed."""
    ours, dvc = read(FILE), read(DVC_FILE)
    if ours is None and dvc is None:
        sentence = (
            f"the commit has neither this nor {DVC_FILE}; `loopwright init` writes an example"
        )
        raise FileError([FileFault(FILE, sentence)])
    faults = FaultCollector()
    keys = _known_keys(load(ours, FILE), _KEYS, faults) if ours is not None else {}
    none: tuple[Stage, ...] = ()
    stages = faults.part(lambda: _all_stages(keys, dvc, read), none)
    pipeline = _assembled(keys, stages, default_name, faults)
    faults.raise_all()
    if ours is None:
        return replace(pipeline, model=default_name, registers_only_package=True)
    return pipeline


def read_deploy_policy(content: bytes, file: str) -> DeployPolicy | None:
    """What a pipeline file says under `deploy:`, or None where it has none.

    FileError says all that is wrong with the file, but for its stages: those need other files.
    """
    faults = FaultCollector()
    keys = _known_keys(load(content, file), _KEYS, faults)
    pipeline = _assembled(keys, (), "pipeline", faults)
    faults.raise_all()
    return pipeline.deploy if "deploy" in keys else None


def _known_keys(
    node: YamlNode, allowed: Collection[str], faults: FaultCollector
) -> dict[str, YamlNode]:
    """The entries that are read; FileError for what is no mapping."""
    keys = node.mapping()
    faults.part(lambda: node.mapping(allowed), keys)
    return keys


def _all_stages(
    keys: Mapping[str, YamlNode], dvc: bytes | None, read: ReadFile
) -> tuple[Stage, ...]:
    if "stages" in keys:
        return _stages(keys, read)
    if dvc is not None:
        return _stages(load(dvc, DVC_FILE).mapping(_DVC_KEYS), read)
    raise FileError([FileFault(FILE, f"has no stages, and there is no {DVC_FILE}", 1)])


def _assembled(
    keys: Mapping[str, YamlNode],
    stages: tuple[Stage, ...],
    default_name: str,
    faults: FaultCollector,
) -> Pipeline:
    """The pipeline, as far as it can be read; what cannot is among the faults."""

    def part(key: str, read: Callable[[YamlNode], T], otherwise: T) -> T:
        return faults.part(lambda: read(found[key]), otherwise) if key in found else otherwise

    triggers = _triggers(keys, faults)
    found = {**keys, **{f"triggers.{key}": node for key, node in triggers.items()}}
    model = part("model", _name, None)
    if "register" in keys and "model" not in keys:
        sentence = "needs `model:`, the name to register under"
        faults.faults.append(keys["register"].fault(sentence))
    drift = part("triggers.drift", lambda node: _policy(node, DriftTrigger), None)
    detection = part("monitor", lambda node: _policy(node, DetectionPolicy), DetectionPolicy())
    return Pipeline(
        name=part("pipeline", _name, model or default_name),
        model=model,
        stages=stages,
        captured=part("captured", YamlNode.path, None),
        register=part("register", _registration, None),
        checks=part("checks", _checks, ()),
        code=part("triggers.code", _code_trigger, CodeTrigger()),
        schedule=part("triggers.schedule", _cron, None),
        deploy=part("deploy", lambda node: _policy(node, DeployPolicy), DeployPolicy()),
        monitor=MonitorPolicy(**dict(detection), drift=drift),
        whole_tree="stages" not in keys,
    )


def _triggers(keys: Mapping[str, YamlNode], faults: FaultCollector) -> dict[str, YamlNode]:
    if "triggers" not in keys:
        return {}
    return faults.part(lambda: _known_keys(keys["triggers"], _TRIGGERS, faults), {})


def _stages(keys: Mapping[str, YamlNode], read: ReadFile) -> tuple[Stage, ...]:
    if "stages" not in keys:
        raise FileError([FileFault(DVC_FILE, "has no stages", 1)])
    context = _context(keys.get("vars"), read)
    expanded = (
        (read_stage(name, node), node)
        for given, definition in keys["stages"].mapping().items()
        for name, node in templates.expand(given, definition, context)
    )
    stages = list(itertools.islice(expanded, templates.MAX_STAGES + 1))
    if len(stages) > templates.MAX_STAGES:
        keys["stages"].reject(f"makes over {templates.MAX_STAGES} stages")
    if not stages:
        keys["stages"].reject("names no stage")
    return stage_order.sort_stages(stages)


def _context(declared: YamlNode | None, read: ReadFile) -> dict[str, object]:
    """What `${...}` may name: params.yaml, and what `vars:` adds."""
    default = read(DEFAULT_FILE)
    context = read_params(default, DEFAULT_FILE) if default is not None else {}
    for item in declared.items() if declared else ():
        if isinstance(item.value, dict):
            context |= item.value
            continue
        file = item.path()
        content = read(file)
        if content is None:
            item.reject(f"the commit has no file {file}")
        context |= read_params(content, file)
    return context


def _name(node: YamlNode) -> str:
    name = node.text()
    if not _NAME.fullmatch(name):
        node.reject(f"{name!r} is no name; use letters, digits, and . _ -")
    return name


def _registration(node: YamlNode) -> Registration:
    keys = node.mapping({"package", "training", "holdout", "target"})
    if "package" not in keys:
        node.reject("has no package, the directory to register")
    return Registration(
        package=keys["package"].path(),
        training=_dataset(keys["training"]) if "training" in keys else None,
        holdout=_dataset(keys["holdout"]) if "holdout" in keys else None,
        target=keys["target"].text() if "target" in keys else None,
    )


def _dataset(node: YamlNode) -> str:
    """The path of a dataset, refused before anything runs where its name says no Parquet."""
    path = node.path()
    if _OTHER_TABLES.search(path):
        node.reject(f"{path}: has to be Parquet, as pandas' `to_parquet` writes it")
    return path


def _checks(node: YamlNode) -> tuple[CheckRule, ...]:
    return tuple(_check(item) for item in node.items())


def _check(node: YamlNode) -> CheckRule:
    if not isinstance(node.value, dict):
        return CheckRule(node.text())
    rule = node.mapping({"notebooks"})
    if "notebooks" not in rule or rule["notebooks"].value != "no-outputs":
        node.reject("a check is a command, or `notebooks: no-outputs`")
    return CheckRule(None)


def _code_trigger(node: YamlNode) -> CodeTrigger:
    keys = node.mapping({"branches", "paths"})
    return CodeTrigger(
        keys["branches"].texts() if "branches" in keys else None,
        _patterns(keys["paths"]) if "paths" in keys else None,
    )


def _patterns(node: YamlNode) -> tuple[str, ...]:
    patterns = node.texts()
    if len(patterns) > _MOST_PATTERNS or max(map(len, patterns), default=0) > _LONGEST_PATTERN:
        node.reject(f"at most {_MOST_PATTERNS} patterns of {_LONGEST_PATTERN} characters are taken")
    return patterns


def _cron(node: YamlNode) -> str:
    schedule = " ".join(node.text().split())
    if not _CRON.fullmatch(schedule):
        node.reject("must be five cron fields such as `0 3 * * 1`")
    return schedule


def _policy(node: YamlNode, kind: type[P]) -> P:
    """All that is wrong is said at once."""
    try:
        return read_policy(kind, node.value)
    except PolicyError as error:
        faults = [_at(node, fault.path).fault(fault.sentence) for fault in error.faults]
    raise FileError(faults)


def _at(node: YamlNode, path: Sequence[str | int]) -> YamlNode:
    for part in path:
        node = node.child(part, None)
    return node
