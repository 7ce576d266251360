"""The grammar of one stage: DVC's keys, and ours beside them."""

import re
from dataclasses import dataclass

from loopwright_trainer.pipelines.params import DEFAULT_FILE, ParamUse
from loopwright_trainer.pipelines.yaml_source import YamlNode

_OURS = frozenset({"retries", "timeout", "cache", "needs", "seed"})
_DVC = frozenset(
    {"cmd", "wdir", "deps", "params", "outs", "metrics", "plots", "frozen", "always_changed"}
    | {"desc", "meta"}
)
STAGE_KEYS = _DVC | _OURS
_OUT_OPTIONS = frozenset({"cache", "persist", "desc", "type", "labels", "meta", "push", "remote"})
_PLOT_OPTIONS = _OUT_OPTIONS | {"x", "y", "x_label", "y_label", "title", "template", "header"}
_NAME = re.compile(r"[A-Za-z0-9_][\w.@+-]{0,199}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One command of a pipeline; every path is relative to the repository's root.

    `outs` are all outputs, `metrics` among them; `timeout` is in seconds. `needs` orders stages
    and moves no files.
    """

    name: str
    commands: tuple[str, ...]
    wdir: str = "."
    deps: tuple[str, ...] = ()
    params: tuple[ParamUse, ...] = ()
    outs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    frozen: bool = False
    cache: bool = True
    retries: int = 0
    timeout: float | None = None
    seed: int | None = None


def read_stage(name: str, node: YamlNode) -> Stage:
    """A stage from its filled definition; FileError names the key that is wrong."""
    if not _NAME.fullmatch(name):
        node.reject(f"{name!r} is no stage name; use letters, digits, and . _ - + @")
    keys = node.mapping(STAGE_KEYS)
    if "cmd" not in keys:
        node.reject("has no cmd")
    wdir = keys["wdir"].path() if "wdir" in keys else "."
    metrics = _outputs(keys.get("metrics"), wdir, _OUT_OPTIONS)
    outs = _outputs(keys.get("outs"), wdir, _OUT_OPTIONS)
    plots = _outputs(keys.get("plots"), wdir, _PLOT_OPTIONS)
    volatile = _flag(keys, "always_changed", default=False)
    return Stage(
        name=name,
        commands=keys["cmd"].texts(),
        wdir=wdir,
        deps=_paths(keys.get("deps"), wdir),
        params=_params(keys.get("params"), wdir),
        outs=tuple(dict.fromkeys([*outs, *metrics, *plots])),
        metrics=metrics,
        needs=keys["needs"].texts() if "needs" in keys else (),
        frozen=_flag(keys, "frozen", default=False),
        cache=_flag(keys, "cache", default=True) and not volatile,
        retries=keys["retries"].integer(0, 10) if "retries" in keys else 0,
        timeout=keys["timeout"].seconds() if "timeout" in keys else None,
        seed=keys["seed"].integer(0, 2**32 - 1) if "seed" in keys else None,
    )


def _flag(keys: dict[str, YamlNode], name: str, *, default: bool) -> bool:
    return keys[name].boolean() if name in keys else default


def _paths(node: YamlNode | None, wdir: str) -> tuple[str, ...]:
    if node is None:
        return ()
    return tuple(dict.fromkeys(item.path(wdir) for item in node.items()))


def _outputs(node: YamlNode | None, wdir: str, options: frozenset[str]) -> tuple[str, ...]:
    """Output paths; each a text, or a mapping of one path to DVC's options."""
    paths = []
    for item in node.items() if node else ():
        if isinstance(item.value, dict):
            for path, given in item.mapping().items():
                given.mapping(options)
                paths.append(item.with_value(path).path(wdir))
        else:
            paths.append(item.path(wdir))
        if paths and paths[-1] == ".":
            item.reject("the whole directory cannot be an output; name a file or folder in it")
    return tuple(paths)


def _params(node: YamlNode | None, wdir: str) -> tuple[ParamUse, ...]:
    """Keys of `params.yaml`, or `file:` with a list of keys, or `file:` alone for all of it."""
    keys: list[str] = []
    uses = []
    for item in node.items() if node else ():
        if not isinstance(item.value, dict):
            keys.append(item.text())
            continue
        for file, wanted in item.mapping().items():
            path = item.with_value(file).path(wdir)
            uses.append(ParamUse(path, None if wanted.value is None else wanted.texts()))
    if keys:
        uses.insert(0, ParamUse(YamlNode(DEFAULT_FILE, "", {}).path(wdir), tuple(keys)))
    return tuple(uses)
