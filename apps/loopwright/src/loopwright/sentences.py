"""One plain sentence per event: what a person wants to know of it."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from loopwright_common.events import TYPE_PREFIX

Data = Mapping[str, Any]


def sentence(event: Mapping[str, Any]) -> str:
    """What a structured CloudEvent says, for a person."""
    topic = str(event["type"]).removeprefix(TYPE_PREFIX).removesuffix(".v1")
    data = event.get("data")
    say = _SAY.get(topic)
    return say(data) if say and isinstance(data, Mapping) else ""


def _code_changed(data: Data) -> str:
    message = (data.get("message") or "").splitlines()
    who = f" by {data['author']}" if data.get("author") else ""
    return f"commit {data['commit'][:8]}{who}" + (f": {message[0]}" if message else "")


def _training_finished(data: Data) -> str:
    stages = ", ".join(f"{stage['name']} {stage['outcome']}" for stage in data.get("stages", []))
    told = f"{data['status']} after {data['seconds']:.1f} s ({data['reason']})"
    return f"{told}: {stages or data['why']}"


def _model_registered(data: Data) -> str:
    metrics = ", ".join(f"{k} {v:.4g}" for k, v in sorted(data.get("metrics", {}).items())[:4])
    return f"version {data['version']} ({data['format']})" + (f": {metrics}" if metrics else "")


def _alias_changed(data: Data) -> str:
    target = f"version {data['version']}" if data.get("version") else "nothing"
    return f"{data['alias']} is now {target}, by {data['by']}"


def _validated(data: Data) -> str:
    said = f"version {data['version']}: "
    verdicts = Counter(check["verdict"] for check in data["checks"])
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    wrong = [c["sentence"] for c in data["checks"] if c["verdict"] in ("failed", "inconclusive")]
    return f"{said}checks {counts}" + "".join(f"; {sentence}" for sentence in wrong)


def _why(data: Data) -> str:
    return str(data["why"])


def _finished(data: Data) -> str:
    return f"{data['outcome']}: {data['why']}"


def _routes_changed(data: Data) -> str:
    arms = ", ".join(f"version {arm['version']} {arm['weight']:.0%}" for arm in data["arms"])
    return f"revision {data['revision']}: {arms}"


def _drift(data: Data) -> str:
    features = [f.get("sentence") or f["name"] for f in data["features"][:3]]
    more = len(data["features"]) - len(features)
    tail = f" and {more} more" if more > 0 else ""
    return f"{data['kind']} drift after {data['rows_seen']:,} rows: {'; '.join(features)}{tail}"


def _retrain(data: Data) -> str:
    return data.get("why") or f"{data['reason']}, asked by {data['requested_by']}"


def _performance(data: Data) -> str:
    loss = data.get("log_loss")
    measured = f", log loss {loss:.4f}" if loss is not None else ""
    return f"version {data['version']}: {data['labelled']:,} labelled{measured}"


def _truth(data: Data) -> str:
    return f"{len(data['ids'])} labels"


_SAY: Mapping[str, Callable[[Data], str]] = {
    "code-changed": _code_changed,
    "training-finished": _training_finished,
    "model-registered": _model_registered,
    "alias-changed": _alias_changed,
    "deployment-validated": _validated,
    "deployment-promoted": _why,
    "deployment-rolled-back": _why,
    "deployment-finished": _finished,
    "routes-changed": _routes_changed,
    "drift-detected": _drift,
    "retrain-requested": _retrain,
    "performance-measured": _performance,
    "ground-truth-logged": _truth,
}
