"""How clients name a model: `bank`, `bank@challenger`, or with a version beside it."""

from typing import NamedTuple

from loopwright_common.errors import NotFoundError
from loopwright_scorer.routing.routes import Route, Routes, ServedArm


class ModelAddress(NamedTuple):
    """A model, and the version or alias the caller insists on."""

    model: str
    version: int | None = None
    alias: str | None = None

    def find(self, routes: Routes) -> tuple[Route, ServedArm]:
        """The route and the arm named, the champion unless one is; else NotFoundError."""
        route = routes.route(self.model)
        if self.version is not None:
            return route, route.arm_of(self.version)
        if self.alias is not None:
            return route, route.named(self.alias)
        return route, route.champion()


def parse_address(name: str, version: str | None = None) -> ModelAddress:
    """NotFoundError when the version is no number, or comes with an alias."""
    model, _, alias = name.partition("@")
    if version is None:
        return ModelAddress(model, None, alias or None)
    if alias:
        raise NotFoundError(f"{name!r} with version {version!r:.40}: name an alias or a version")
    if not version.isdecimal() or len(version) > 9:
        raise NotFoundError(f"no version {version!r:.40}; versions are whole numbers")
    return ModelAddress(model, int(version))
