"""V2's model repository: what is served, by state.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from loopwright_common.errors import InvalidError, RefusedError
from loopwright_scorer.models.memory_manager import MemoryManager
from loopwright_scorer.protocols.model_address import parse_address
from loopwright_scorer.routing.route_reconciler import RouteReconciler
from loopwright_scorer.routing.routes import Routes, ServedArm

_READY = "READY"


class ModelRepository:
    """The repository is the routes: a model is there when a deployment brought it.

    What has no traffic can be unloaded, `bank@3`, and loaded again; with no version it is meant
    as a whole. Without `memory` everything stays.
    """

    def __init__(
        self,
        routes: Routes,
        reconciler: RouteReconciler | None = None,
        memory: MemoryManager | None = None,
    ) -> None:
        self._routes = routes
        self._reconciler = reconciler
        self._memory = memory

    def index(self, *, only_ready: bool) -> list[dict[str, str]]:
        """Every version with its state, and why it is not ready."""
        known = [
            _entry(route.model, str(version), *_state(route.versions[version]))
            for route in self._routes.all()
            for version in sorted(route.versions)
        ]
        ready = [entry for entry in known if entry["state"] == _READY]
        return ready if only_ready else known + self._not_loaded()

    async def load(self, name: str, parameters: object = None) -> None:
        """Have it in memory; NotFoundError where no route has it.

        InvalidError where parameters say what to load.
        """
        if parameters:
            raise InvalidError(
                "parameters: what is loaded comes from the registry by a deployment; give none"
            )
        for arm in self._arms_named(name):
            if self._memory is not None:
                await self._memory.load_on_request(arm.model)

    async def unload(self, name: str) -> None:
        """Put it out of memory until it is loaded; RefusedError where it has traffic.

        NotFoundError where no route has it.
        """
        arms = self._arms_named(name)
        if self._memory is None or any(self._memory.has_traffic(arm.model) for arm in arms):
            raise RefusedError(
                f"{name}: its route serves it; deploy another version or undo this one"
            )
        for arm in arms:
            self._memory.unload_on_request(arm.model)

    def _arms_named(self, name: str) -> list[ServedArm]:
        """The version named by number or alias, or all of the model."""
        address = parse_address(name)
        route = self._routes.route(address.model)
        if address.alias is None:
            return list(route.versions.values())
        return [route.known(address.alias)]

    def _not_loaded(self) -> list[dict[str, str]]:
        reports = self._reconciler.served_routes() if self._reconciler else []
        return [
            {
                "name": self._name(report.model_id),
                "version": version,
                "state": "UNAVAILABLE",
                "reason": why,
            }
            for report in reports
            for version, why in report.problems.items()
        ]

    def _name(self, model_id: str) -> str:
        route = self._routes.by_id(model_id)
        return route.model if route else model_id


def _state(arm: ServedArm) -> tuple[str, str]:
    if arm.model.unloaded:
        return "UNAVAILABLE", "unloaded"
    return _READY, "" if arm.model.is_in_memory else "not in memory; the next call loads it"


def _entry(name: str, version: str, state: str, reason: str) -> dict[str, str]:
    return {"name": name, "version": version, "state": state, "reason": reason}
