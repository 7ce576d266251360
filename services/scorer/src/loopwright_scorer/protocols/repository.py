"""V2's model repository: what is served, by state.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from loopwright_common.errors import InvalidError, RefusedError
from loopwright_scorer.follower import RouteFollower
from loopwright_scorer.protocols.address import parse_address
from loopwright_scorer.routes import Routes


class ModelRepository:
    """The repository is the routes: a model is there when a deployment brought it."""

    def __init__(self, routes: Routes, follower: RouteFollower | None = None) -> None:
        self._routes = routes
        self._follower = follower

    def index(self, *, only_ready: bool) -> list[dict[str, str]]:
        """Every version with its state, and why it is not ready."""
        ready = [
            _entry(route.model, str(version), "READY", "")
            for route in self._routes.all()
            for version in sorted(route.versions)
        ]
        return ready if only_ready else ready + self._unready()

    async def load(self, name: str, parameters: object = None) -> None:
        """Nothing to do where the model is served; NotFoundError where no route has it.

        InvalidError where parameters say what to load.
        """
        if parameters:
            raise InvalidError(
                "parameters: what is loaded comes from the registry by a deployment; give none"
            )
        parse_address(name).find(self._routes)

    async def unload(self, name: str) -> None:
        """RefusedError: what is served is the route's business."""
        parse_address(name).find(self._routes)
        raise RefusedError(f"{name}: its route serves it; deploy another version or undo this one")

    def _unready(self) -> list[dict[str, str]]:
        reports = self._follower.report() if self._follower else []
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


def _entry(name: str, version: str, state: str, reason: str) -> dict[str, str]:
    return {"name": name, "version": version, "state": state, "reason": reason}
