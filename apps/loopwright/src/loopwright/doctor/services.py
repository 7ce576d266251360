"""The services, asked over HTTP, and what waits there for a person."""

from collections.abc import Callable

from loopwright.client import PORTS, CallError, Services
from loopwright.doctor.finding import Finding
from loopwright.output import Row
from loopwright.ports import port_of


def examine() -> list[Finding]:
    with Services(timeout=5) as services:
        findings = [_service(services, name) for name in PORTS]
        return [*findings, _repositories(services), _deployments(services)]


def _service(services: Services, name: str) -> Finding:
    try:
        checks = services.get(name, "/readyz")["checks"]
    except CallError as error:
        return Finding(name, "bad", f"{error}{_other_listener(name, error)}")
    waiting = _undelivered(services, name)
    detail = "; ".join([f"ready: {', '.join(checks)}", *waiting])
    return Finding(name, "note" if waiting else "well", detail)


def _other_listener(name: str, error: CallError) -> str:
    """Who listens at the port and is no service of ours, as the cause may be."""
    if error.status not in (None, 503):
        return f"; is it another program that listens on port {port_of(name)}?"
    return ""


def _undelivered(services: Services, name: str) -> list[str]:
    """What is wrong with the events that the service reads."""
    try:
        page = services.get(name, "/v1/dead-letters")
    except CallError:
        return []
    count = f"{len(page['items'])}{'' if page['next'] is None else ' or more'}"
    dead = [f"dead letters: {count}, see `loopwright dead-letters list`"] * bool(page["items"])
    return dead + [f"events that wait for another try: {page['parked']}"] * bool(page["parked"])


def _repositories(services: Services) -> Finding:
    return _note(services, "repositories", "trainer", _troubled)


def _troubled(repository: Row) -> str | None:
    problem = repository["problem"]
    return f"{repository['name']}: {problem}" if problem else None


def _deployments(services: Services) -> Finding:
    return _note(services, "deployments", "deployer", _held)


def _held(deployment: Row) -> str | None:
    if deployment["state"] not in ("paused", "approval"):
        return None
    name = f"{deployment['model']}/{deployment['version']}"
    return f"{name} {deployment['state']}: {deployment['why']}"


def _note(
    services: Services, name: str, service: str, describe: Callable[[Row], str | None]
) -> Finding:
    """What each of the service's things of this name wants of a person."""
    try:
        listed = services.items(service, f"/v1/{name}")
    except CallError:
        return Finding(name, "note", f"unknown while the {service} is away")
    notes = [note for each in listed if (note := describe(each))]
    return Finding(
        name, "note" if notes else "well", "; ".join(notes) or f"{len(listed)}, all well"
    )
