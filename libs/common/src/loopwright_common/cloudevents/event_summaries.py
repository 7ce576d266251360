"""One plain sentence per event: what a person wants to know of it."""

from collections.abc import Callable, Mapping
from typing import Any

from loopwright_common.events import topic_of
from loopwright_common.wording import counted

Data = Mapping[str, Any]
_LIMIT = 5
"""Metrics or features named in one sentence."""


def summarize(event: Mapping[str, Any]) -> str:
    """What a structured CloudEvent says; empty where its topic has no sentence."""
    write, data = _SUMMARIES.get(topic_of(str(event["type"]))), event.get("data")
    return write(data) if write and isinstance(data, Mapping) else ""


def _code_changed(data: Data) -> str:
    author, message = data.get("author"), (data.get("message") or "").strip()
    text = f"commit {data['commit'][:8]}" + (f" by {author}" if author else "")
    return f"{text}: {message.splitlines()[0]}" if message else text


def _training_finished(data: Data) -> str:
    reused = [stage["name"] for stage in data.get("stages", []) if stage["outcome"] == "reused"]
    text = f"{data['pipeline']} {data['status']} after {data['seconds']:.1f} s"
    text += f" ({data['reason']}): {data['why']}"
    return f"{text}; reused {', '.join(reused)}" if reused else text


def _model_registered(data: Data) -> str:
    text = f"{_version(data)} registered as {data['format']}"
    metrics = [f"{key} {value:.4g}" for key, value in sorted(data.get("metrics", {}).items())]
    return f"{text}: {', '.join(metrics[:_LIMIT])}" if metrics else text


def _alias_changed(data: Data) -> str:
    if data.get("version") is None:
        return f"alias {data['alias']} of {data['model']} removed by {data['by']}"
    text = f"alias {data['alias']} of {data['model']} is version {data['version']}"
    return text + (f", was {data['previous']}" if data.get("previous") else "")


def _promotion_requested(data: Data) -> str:
    return f"{_version(data)} requested as champion by {data['by']}"


def _promotion_refused(data: Data) -> str:
    return f"{_version(data)} not promoted for {data['by']}: {data['why']}"


def _version_deleted(data: Data) -> str:
    return f"{_version(data)} deleted by {data['by']}"


def _validated(data: Data) -> str:
    failed = [check for check in data["checks"] if check["verdict"] in ("failed", "inconclusive")]
    if failed:
        listed = "; ".join(f"{c['name']} {c['verdict']}: {c['sentence']}" for c in failed)
        return f"{_version(data)} in {data['environment']}: {listed}"
    verdict = "passed" if data["passed"] else "did not pass"
    count = sum(check["verdict"] == "passed" for check in data["checks"])
    return f"{_version(data)} {verdict} {data['environment']}, {counted(count, 'check')} passed"


def _approval_requested(data: Data) -> str:
    return f"{_version(data)} waits for approval by {' or '.join(data['roles'])}"


def _deployment_changed(data: Data) -> str:
    share = f" with {data['weight']:.0%} of the traffic" if data["weight"] else ""
    text = f"{_version(data)} {data['state']}{share}: {data['why']}"
    if not data.get("decisions"):
        return text
    text += f"; a person may {', '.join(data['decisions'])}"
    return text + (f", else {data['then']} at {data['until']}" if data.get("then") else "")


def _promoted(data: Data) -> str:
    over = f" over version {data['previous']}" if data.get("previous") else ""
    return f"{_version(data)} promoted{over}: {data['why']}"


def _rolled_back(data: Data) -> str:
    to = f"version {data['previous']} serves" if data.get("previous") else "nothing serves"
    return f"{_version(data)} rolled back, {to}: {data['why']}"


def _canary_labelled(data: Data) -> str:
    arms = [[step[arm] for step in data["steps"]] for arm in ("canary", "champion")]
    wrong = [
        f"{sum(a['wrong'] for a in arm):.4g} of {sum(a['calls'] for a in arm)}" for arm in arms
    ]
    return (
        f"labels of the canary of {_version(data)}: it was wrong on {wrong[0]} calls, "
        f"version {data['previous']} on {wrong[1]}"
    )


def _finished(data: Data) -> str:
    ended = f"deployment of {_version(data)} ended"
    if data["outcome"] == "promoted":
        return f"{ended}: promoted"
    return f"{ended}, {data['outcome']}: {data['why']}"


def _routes_changed(data: Data) -> str:
    arms = ", ".join(f"version {arm['version']} {arm['weight']:.0%}" for arm in data["arms"])
    return f"{data['model']} route {data['revision']}: {arms or 'nothing served'}"


def _drift(data: Data) -> str:
    features = [feature.get("sentence") or feature["name"] for feature in data["features"]]
    more = f" and {len(features) - _LIMIT} more" if len(features) > _LIMIT else ""
    listed = f": {'; '.join(features[:_LIMIT])}{more}" if features else ""
    seen = f"since row {data['since']['row']:,}, seen after {data['rows_seen']:,} rows"
    return f"{data['kind']} drift of {_version(data)} {seen}{listed}"


def _retrain(data: Data) -> str:
    text = f"retraining of {data['pipeline']} requested by {data['requested_by']}"
    if data["reason"] != "person":
        text += f" because of {data['reason']}"
    return f"{text}: {data['why']}" if data.get("why") else text


def _performance(data: Data) -> str:
    loss = data.get("log_loss")
    measured = f", log loss {loss:.4f}" if loss is not None else ""
    return f"{_version(data)}: {data['labelled']:,} labelled rows{measured}"


def _truth(data: Data) -> str:
    count = len(data["ids"])
    return f"{count} outcome{'s' if count != 1 else ''} of {data['model']}"


def _version(data: Data) -> str:
    return f"{data['model']} version {data['version']}"


_SUMMARIES: Mapping[str, Callable[[Data], str]] = {
    "code-changed": _code_changed,
    "training-finished": _training_finished,
    "model-registered": _model_registered,
    "alias-changed": _alias_changed,
    "promotion-requested": _promotion_requested,
    "version-deleted": _version_deleted,
    "deployment-validated": _validated,
    "approval-requested": _approval_requested,
    "deployment-changed": _deployment_changed,
    "promotion-refused": _promotion_refused,
    "deployment-promoted": _promoted,
    "deployment-rolled-back": _rolled_back,
    "canary-labelled": _canary_labelled,
    "deployment-finished": _finished,
    "routes-changed": _routes_changed,
    "drift-detected": _drift,
    "retrain-requested": _retrain,
    "performance-measured": _performance,
    "ground-truth-logged": _truth,
}
