"""What this replica serves: routes in memory, each swapped as a whole by one reference."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from loopwright_common.deploy_policy import RecordPolicy
from loopwright_common.errors import NotFoundError
from loopwright_common.events import RoutesChanged
from loopwright_scorer.models.loaded_model import LoadedModel
from loopwright_scorer.routing import traffic_split
from loopwright_scorer.routing.canary_counters import ArmCounters
from loopwright_scorer.routing.circuit_breaker import CircuitBreaker
from loopwright_scorer.routing.record_policy import WHOLE, RecordedArm
from loopwright_scorer.routing.traffic_split import TrafficShare


@dataclass(frozen=True, slots=True)
class ServedArm:
    """A version that can answer, with its counts under one route revision."""

    version: int
    model: LoadedModel
    counters: ArmCounters
    kind: RecordedArm
    """What the records of its calls have in common."""
    circuit: CircuitBreaker = field(default_factory=CircuitBreaker)


@dataclass(frozen=True, slots=True)
class Route:
    """One revision of a model's route, every arm loaded; `versions` has all that can be named."""

    model_id: str
    model: str
    revision: int
    shares: tuple[TrafficShare, ...]
    versions: Mapping[int, ServedArm]
    shadows: tuple[ServedArm, ...] = ()
    routing_key: str | None = None
    aliases: Mapping[str, int] = field(default_factory=dict)
    """The registry's names of versions; `champion` and `challenger` are the route's own."""
    record: RecordPolicy = WHOLE

    def arm_for(self, key: str) -> ServedArm:
        """The arm of a routing key; sticky, and never one whose circuit is open.

        NotFoundError where no arm is live.
        """
        self._check_is_live()
        if len(self.shares) == 1:
            return self.versions[self.shares[0].version]
        version = traffic_split.select_version(
            self.shares, traffic_split.hash_position(self.model, key)
        )
        if self.closed(self.versions[version]):
            version = traffic_split.fallback_version(self.shares, version)
        return self.versions[version]

    def arm_of(self, version: int) -> ServedArm:
        """The named version; NotFoundError says which there are."""
        if arm := self.versions.get(version):
            return self._loaded(arm)
        there = ", ".join(str(v) for v in sorted(self.versions))
        raise NotFoundError(f"model {self.model!r} has no version {version} here, only {there}")

    def named(self, alias: str) -> ServedArm:
        """The version with that alias; NotFoundError says which there are."""
        return self._loaded(self.known(alias))

    def known(self, alias: str) -> ServedArm:
        """As `named`, also by number, and where it is unloaded.

        NotFoundError says which there are.
        """
        if alias.isdecimal() and (arm := self.versions.get(int(alias[:9]))):
            return arm
        names = {**self.aliases, **self._own_names()}
        if arm := self.versions.get(names.get(alias, 0)):
            return arm
        there = sorted(name for name, version in names.items() if version in self.versions)
        raise NotFoundError(
            f"model {self.model!r} has no version {'@' + alias} here, "
            f"only {', '.join('@' + name for name in there) or 'none with a name'}"
        )

    def _loaded(self, arm: ServedArm) -> ServedArm:
        if arm.model.unloaded:
            raise NotFoundError(
                f"version {arm.version} of {self.model!r} is unloaded; load it first:"
                f" POST /v2/repository/models/{self.model}@{arm.version}/load"
            )
        return arm

    def champion(self) -> ServedArm:
        """The arm that the others are compared with: the first to join.

        NotFoundError where none is live.
        """
        self._check_is_live()
        return self.versions[self.shares[-1].version]

    def _own_names(self) -> Mapping[str, int]:
        """`champion`, and `challenger` for the arm on its way."""
        own = {"champion": self.shares[-1].version} if self.shares else {}
        if len(self.shares) > 1:
            own["challenger"] = self.shares[0].version
        elif self.shadows:
            own["challenger"] = self.shadows[-1].version
        return own

    def canary(self, arm: ServedArm) -> bool:
        """Whether the arm may be left out: the last to join of several."""
        return len(self.shares) > 1 and arm.version == self.shares[0].version

    def closed(self, arm: ServedArm) -> str | None:
        """Why it gets no traffic: by its calls, or a canary by harm that it did to whoever asked.

        None where it gets its share.
        """
        return arm.circuit.opened or (arm.model.harm if self.canary(arm) else None)

    def other_live(self, arm: ServedArm) -> ServedArm | None:
        """The arm beside it in live traffic, where there are two and it can answer."""
        others = [self.versions[s.version] for s in self.shares if s.version != arm.version]
        if len(others) != 1 or self.closed(others[0]) or others[0].model.unloaded:
            return None
        return others[0]

    def tripped(self) -> dict[str, str]:
        """Why versions get no traffic from this replica, or should have none."""
        return {
            str(version): why
            for version, arm in self.versions.items()
            if (why := arm.circuit.opened or arm.model.harm)
        }

    def _check_is_live(self) -> None:
        if not self.shares:
            raise NotFoundError(f"model {self.model!r} has no version in live traffic")


class Routes:
    """Routes by model name; `changed` is set when there is something new to report."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._names: dict[str, str] = {}
        self.changed = asyncio.Event()

    def route(self, model: str) -> Route:
        """The model's route; NotFoundError says which models there are."""
        if route := self._routes.get(model):
            return route
        there = ", ".join(sorted(self._routes)) or "none yet"
        raise NotFoundError(f"no model {model!r} is served here; served: {there}")

    def by_id(self, model_id: str) -> Route | None:
        return self._routes.get(self._names.get(model_id, ""))

    def all(self) -> list[Route]:
        """Sorted by the models' names."""
        return [self._routes[name] for name in sorted(self._routes)]

    def install(self, route: Route) -> None:
        """Serve this route from the next request on; calls in flight end on the old one."""
        if self._names.get(route.model_id, route.model) != route.model:
            self.remove(route.model_id)
        self._names[route.model_id] = route.model
        self._routes[route.model] = route
        self.changed.set()

    def remove(self, model_id: str) -> None:
        self._routes.pop(self._names.pop(model_id, ""), None)
        self.changed.set()


def assemble(data: RoutesChanged, loaded: Mapping[int, LoadedModel]) -> Route:
    """The route of loaded versions, its counters and circuits starting anew."""
    roles = {arm.version: arm.role for arm in data.arms}
    record = data.record or WHOLE
    versions = {
        version: _served(data, version, roles.get(version, "live"), model, record)
        for version, model in loaded.items()
    }
    live = [TrafficShare(arm.version, arm.weight) for arm in data.arms if arm.role == "live"]
    shares = traffic_split.in_traffic_order(live)
    return Route(
        model_id=data.model_id,
        model=data.model,
        revision=data.revision,
        shares=shares,
        versions=versions,
        shadows=tuple(versions[arm.version] for arm in data.arms if arm.role == "shadow"),
        routing_key=data.routing_key,
        aliases=data.aliases,
        record=record,
    )


def _served(
    data: RoutesChanged,
    version: int,
    role: Literal["live", "shadow"],
    model: LoadedModel,
    record: RecordPolicy,
) -> ServedArm:
    counters = ArmCounters(data.model_id, data.model, data.revision, version, role)
    kind = RecordedArm(
        data.model_id, data.model, version, role, model.signature.inputs, model.outputs, record
    )
    return ServedArm(version, model, counters, kind)
