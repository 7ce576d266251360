"""A repository's pipeline file, read and checked as a whole."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from loopwright_common.deploy_policy import DeployPolicy, DriftTrigger, MonitorPolicy, Policy
from loopwright_common.errors import InvalidError
from loopwright_common.policy_reader import PolicyError, read_policy
from loopwright_trainer.pipelines import stage_order, templates
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
_DVC_KEYS = frozenset({"stages", "vars", "params", "metrics", "plots", "artifacts", "datasets"})
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
_CRON = re.compile(r"[\d*/,\-A-Za-z]+( [\d*/,\-A-Za-z]+){4}")
_MOST_PATTERNS, _LONGEST_PATTERN = 100, 200
P = TypeVar("P", bound=Policy)


def read_pipeline(read: ReadFile, default_name: str) -> Pipeline:
    """The pipeline of a commit; InvalidError says what is wrong, where, and what is allowed."""
    ours, dvc = read(FILE), read(DVC_FILE)
    if ours is None and dvc is None:
        raise InvalidError(
            f"the commit has neither {FILE} nor {DVC_FILE}; `loopwright init` writes an example",
            field=FILE,
        )
    root = load(ours, FILE) if ours is not None else None
    keys = root.mapping(_KEYS) if root else {}
    whole_tree = "stages" not in keys
    if not whole_tree:
        stages = _stages(keys, read)
    elif dvc is not None:
        stages = _stages(load(dvc, DVC_FILE).mapping(_DVC_KEYS), read)
    else:
        raise InvalidError(f"{FILE}:1: has no stages, and there is no {DVC_FILE}", field="stages")
    return _assembled(keys, stages, default_name, whole_tree)


def _assembled(
    keys: Mapping[str, YamlNode], stages: tuple[Stage, ...], default_name: str, whole_tree: bool
) -> Pipeline:
    model = _name(keys["model"]) if "model" in keys else None
    register = _registration(keys["register"]) if "register" in keys else None
    if register and model is None:
        keys["register"].reject("needs `model:`, the name to register under")
    triggers = keys["triggers"].mapping({"code", "schedule", "drift"}) if "triggers" in keys else {}
    return Pipeline(
        name=_name(keys["pipeline"]) if "pipeline" in keys else model or default_name,
        model=model,
        stages=stages,
        captured=keys["captured"].path() if "captured" in keys else None,
        register=register,
        checks=tuple(_check(item) for item in keys["checks"].items()) if "checks" in keys else (),
        code=_code_trigger(triggers["code"]) if "code" in triggers else CodeTrigger(),
        schedule=_cron(triggers["schedule"]) if "schedule" in triggers else None,
        deploy=_policy(keys["deploy"], DeployPolicy) if "deploy" in keys else DeployPolicy(),
        monitor=_monitor(keys.get("monitor"), triggers.get("drift")),
        whole_tree=whole_tree,
    )


def _stages(keys: Mapping[str, YamlNode], read: ReadFile) -> tuple[Stage, ...]:
    if "stages" not in keys:
        raise InvalidError(f"{DVC_FILE}:1: has no stages", field="stages")
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
        training=keys["training"].path() if "training" in keys else None,
        holdout=keys["holdout"].path() if "holdout" in keys else None,
        target=keys["target"].text() if "target" in keys else None,
    )


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


def _monitor(node: YamlNode | None, drift: YamlNode | None) -> MonitorPolicy:
    """`monitor:` with `triggers.drift` in its place; each is checked where it stands."""
    allowed = set(MonitorPolicy.model_fields) - {"drift"}
    keys = node.mapping(allowed) if node else {}
    policy = _policy(node, MonitorPolicy) if node and keys else MonitorPolicy()
    if drift is None:
        return policy
    return policy.model_copy(update={"drift": _policy(drift, DriftTrigger)})


def _policy(node: YamlNode, kind: type[P]) -> P:
    """All that is wrong is said at once."""
    try:
        return read_policy(kind, node.value)
    except PolicyError as error:
        wrong = [(_at(node, fault.path), fault.sentence) for fault in error.faults]
        first, sentence = wrong[0]
        more = "".join(f"\n{other.where}: {also}" for other, also in wrong[1:])
        first.reject(f"{sentence}{more}")


def _at(node: YamlNode, path: Sequence[str | int]) -> YamlNode:
    for part in path:
        node = node.child(part, None)
    return node
