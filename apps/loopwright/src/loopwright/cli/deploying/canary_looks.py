"""What a canary counts, and its verdicts made again from what was kept of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loopwright.cli.deploying.pipeline_plan import read_policy_file
from loopwright.client import Services
from loopwright.output import Column, Row, clock_time, console, show_items
from loopwright_common.errors import InvalidError
from loopwright_common.wording import counted

_CHECKS = ("canary-errors", "canary-refusals", "canary-latency")
_PAGE = 100


def _counted(arm: str) -> Column:
    return arm, lambda row: "{hits} of {calls}, {share:.2%}".format(**row["comparison"][arm])


def _difference(row: Row) -> str:
    """The canary's share less the champion's, and what it lies within."""
    compared = row["comparison"]
    difference = compared["canary"]["share"] - compared["champion"]["share"]
    if compared["low"] is None:
        return f"{difference:+.2%} (the steps contradict each other)"
    bounds = f"{compared['low']:+.2%} to {compared['high']:+.2%}"
    return f"{difference:+.2%} ({bounds} at {compared['confidence']:.0%})"


def _evidence(of: str) -> Column:
    def cell(row: Row) -> str:
        return f"{row['comparison'][of]:.3g} of {row['comparison'][f'{of}_limit']:g}"

    return of, cell


COMPARISONS: list[Column] = [
    *("name", "verdict", _counted("canary"), _counted("champion"), ("difference", _difference)),
    ("limit", lambda row: f"{row['limit']:.2%}"),
    *(_evidence("worse"), _evidence("harmless")),
]
LOOKS: list[Column] = [
    ("time", lambda look: clock_time(look["at"])),
    ("step", lambda look: look["step"] + 1),
    ("canary", lambda look: look["canary_requests"]),
    ("champion", lambda look: look["champion_requests"]),
    *((name.removeprefix("canary-"), lambda look, name=name: _verdict(look, name))
      for name in _CHECKS),
    *("action", ("live", lambda look: look["live_action"]), "why"),
]  # fmt: skip


def compared(checks: Sequence[Row]) -> list[Row]:
    """The checks that compare the arms of a canary."""
    return [check for check in checks if check.get("comparison")]


def judged(services: Services, deployment_id: str, file: Path | None) -> list[dict[str, Any]]:
    """All looks, judged again; by the policy of a pipeline file where one is given.

    InvalidError where the file has none, or one that cannot be read.
    """
    body: dict[str, object] = {"policy": _policy(file)} if file else {}
    looks: list[dict[str, Any]] = []
    path, after = f"/v1/deployments/{deployment_id}/judge", "0"
    while after:
        page = services.call(
            "deployer", "POST", path, params={"limit": _PAGE, "after": after}, body=body
        ).json()
        looks += page["items"]
        after = page["next"]
    return looks


def show_judged(looks: Sequence[Row], *, tried: Path | None) -> None:
    """The looks at which something changed, and how they compare with what was decided live."""
    changed = [
        look
        for before, look in zip([None, *looks], looks, strict=False)
        if before is None or look is looks[-1] or _says(before) != _says(look)
    ]
    show_items(changed, LOOKS, as_json=False, none="no canary of it was looked at")
    if looks:
        console.print(f"\n{_outcome(looks, tried)}", markup=False)


def _outcome(looks: Sequence[Row], tried: Path | None) -> str:
    judged_again = counted(len(looks), "look")
    differ = (look for look in looks if not _agrees(look, exactly=tried is None))
    if (first := next(differ, None)) is None:
        return f"{judged_again}: same as live" + (f" by the policy of {tried}" if tried else "")
    found = (
        f"{judged_again}: first different at {clock_time(first['at'])}, look {first['number']}: "
        f"{first['action']} ({first['why']}), live {first['live_action']} ({first['live_why']})"
    )
    if tried is None:
        return found
    return f"{found}; what came later was counted as the live policy divided the traffic"


def _agrees(look: Row, *, exactly: bool) -> bool:
    """Another policy words its sentences otherwise, so of it only what it does is compared."""
    return bool(look["same"] if exactly else look["action"] == look["live_action"])


def _says(look: Row) -> tuple[object, ...]:
    verdicts = tuple(_verdict(look, name) for name in _CHECKS)
    return look["step"], look["action"], look["live_action"], look["same"], verdicts


def _verdict(look: Row, name: str) -> str:
    return next((check["verdict"] for check in look["checks"] if check["name"] == name), "")


def _policy(file: Path) -> Mapping[str, object]:
    policy = read_policy_file(file)
    if policy is None:
        raise InvalidError(f"{file} has no `deploy:`, which is the policy to judge by")
    return policy.model_dump(mode="json", exclude_unset=True)
