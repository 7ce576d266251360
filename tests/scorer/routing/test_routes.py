"""Which version a name means on a route."""

from pathlib import Path

import pytest

from loopwright_common.errors import NotFoundError
from loopwright_common.events import RoutesChanged
from loopwright_scorer.models.loaded_model import LoadedModel, load
from loopwright_scorer.routing.routes import Route, assemble


@pytest.fixture(scope="module")
def loaded(package_dirs: dict[str, Path]) -> LoadedModel:
    return load(package_dirs["low"], "sha256:" + "0" * 64)


def route_of(loaded: LoadedModel, *arms: tuple[int, float, str], **aliases: int) -> Route:
    """A route with arms of these versions, weights and roles, and version 9 kept."""
    changed = RoutesChanged.model_validate(
        {
            "environment": "production",
            "model_id": "m-1",
            "model": "bank",
            "revision": 1,
            "arms": [
                {"version": v, "weight": w, "role": role, "digest": "d", "format": "onnx"}
                for v, w, role in arms
            ],
            "aliases": aliases,
        }
    )
    return assemble(changed, dict.fromkeys((9, *(v for v, _, _ in arms)), loaded))


def test_names_of_the_registry_and_of_the_route_name_versions(loaded: LoadedModel) -> None:
    route = route_of(loaded, (1, 0.2, "live"), (2, 0.8, "live"), old=9, gone=4, challenger=9)

    assert route.named("old").version == 9
    assert route.named("champion").version == 1
    assert route.named("challenger").version == 2
    with pytest.raises(NotFoundError, match="no version @gone here, only @challenger, @champion, "):
        route.named("gone")


def test_a_shadow_is_the_challenger_where_no_canary_is(loaded: LoadedModel) -> None:
    assert route_of(loaded, (1, 1.0, "live"), (2, 0.0, "shadow")).named("challenger").version == 2


def test_without_a_version_on_its_way_the_registrys_challenger_holds(loaded: LoadedModel) -> None:
    assert route_of(loaded, (1, 1.0, "live"), challenger=9).named("challenger").version == 9
    with pytest.raises(NotFoundError, match=r"only @champion$"):
        route_of(loaded, (1, 1.0, "live")).named("challenger")


def test_a_route_without_arms_has_no_names(loaded: LoadedModel) -> None:
    with pytest.raises(NotFoundError, match="none with a name"):
        route_of(loaded).named("champion")


def test_a_canary_that_did_harm_gets_no_calls_and_a_champion_keeps_its_own(
    loaded: LoadedModel,
) -> None:
    before = route_of(loaded, (1, 0.5, "live"), (2, 0.5, "live"))
    assert {before.arm_for(str(key)).version for key in range(50)} == {1, 2}
    loaded.harm = "it did not return"
    try:
        after = route_of(loaded, (1, 0.5, "live"), (2, 0.5, "live"))
        alone = route_of(loaded, (1, 1.0, "live"))
        for route in (before, after):
            assert {route.arm_for(str(key)).version for key in range(50)} == {1}
        assert alone.arm_for("any").version == 1
    finally:
        loaded.harm = None
