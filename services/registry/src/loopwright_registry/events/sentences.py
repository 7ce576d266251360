"""What an archived event says, as one plain sentence."""

from collections.abc import Callable, Mapping
from typing import Any

Data = Mapping[str, Any]


def sentence(topic: str, data: Data) -> str:
    """One sentence; of an event without one of its own, its topic in words."""
    tell = _SENTENCES.get(topic)
    return tell(data) if tell else topic.replace("-", " ")


def _code_changed(data: Data) -> str:
    text = f"commit {data['commit'][:7]}"
    if author := data.get("author"):
        text += f" by {author}"
    if message := str(data.get("message") or "").strip():
        text += f": {message.splitlines()[0]!r}"
    return text


def _training_finished(data: Data) -> str:
    reused = [s["name"] for s in data.get("stages", []) if s["outcome"] == "reused"]
    text = f"training run of {data['pipeline']} {data['status']} in {data['seconds']:.1f} s"
    if reused:
        text += f", reused {', '.join(reused)}"
    return f"{text}: {data['why']}" if data.get("why") else text


def _model_registered(data: Data) -> str:
    text = f"version {data['version']} of {data['model']} registered as {data['format']}"
    text += f", package {data['digest'][:19]}"
    metrics = [f"{key} {value:.4g}" for key, value in sorted(data.get("metrics", {}).items())]
    return f"{text}, {', '.join(metrics[:5])}" if metrics else text


def _alias_changed(data: Data) -> str:
    if data.get("version") is None:
        return f"alias {data['alias']} removed by {data['by']}"
    text = f"alias {data['alias']} set to version {data['version']} by {data['by']}"
    return f"{text} (was version {data['previous']})" if data.get("previous") else text


def _version_deleted(data: Data) -> str:
    return f"version {data['version']} of {data['model']} deleted by {data['by']}"


def _validated(data: Data) -> str:
    checks = data.get("checks", [])
    bad = [f"{c['name']} {c['verdict']}: {c['sentence']}" for c in checks
           if c["verdict"] not in ("passed", "skipped")]  # fmt: skip
    if bad:
        return f"{data['environment']}: {'; '.join(bad)}"
    verdict = "passed" if data["passed"] else "did not pass"
    return f"{data['environment']}: {verdict} ({len(checks)} checks)"


def _approval_requested(data: Data) -> str:
    return f"approval asked of {', '.join(data['roles'])}"


def _promoted(data: Data) -> str:
    over = f"over version {data['previous']}" if data.get("previous") else "as the first version"
    return f"promoted {over}: {data['why']}"


def _rolled_back(data: Data) -> str:
    to = f"version {data['previous']} serves" if data.get("previous") else "nothing serves"
    return f"rolled back, {to}: {data['why']}"


def _finished(data: Data) -> str:
    return f"deployment {data['outcome']}: {data['why']}"


def _drift(data: Data) -> str:
    names = ", ".join(feature["name"] for feature in data["features"][:5])
    text = f"{data['kind']} drift in {names}" if names else f"{data['kind']} drift"
    return f"{text} since row {data['since']['row']}, noticed after {data['rows_seen']} rows"


def _retrain(data: Data) -> str:
    text = f"retraining of {data['pipeline']} requested by {data['requested_by']}"
    return f"{text} because of {data['reason']}" + (f": {data['why']}" if data.get("why") else "")


_SENTENCES: Mapping[str, Callable[[Data], str]] = {
    "code-changed": _code_changed,
    "training-finished": _training_finished,
    "model-registered": _model_registered,
    "alias-changed": _alias_changed,
    "version-deleted": _version_deleted,
    "deployment-validated": _validated,
    "approval-requested": _approval_requested,
    "deployment-promoted": _promoted,
    "deployment-rolled-back": _rolled_back,
    "deployment-finished": _finished,
    "drift-detected": _drift,
    "retrain-requested": _retrain,
}
