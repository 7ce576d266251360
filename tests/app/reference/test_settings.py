"""The reference of all settings says what the services read."""

import re
from datetime import timedelta
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from loopwright.reference import settings
from loopwright.reference.settings import SERVICES
from loopwright_common.settings import ServiceSettings

ROW = re.compile(r"^\| `LOOPWRIGHT_([A-Z_]+)` \| .* \| (.+) \|$", re.MULTILINE)
KINDS: dict[type, list[str]] = {
    int: ["-1", str(1 << 70)],
    float: ["-1", "inf", "nan", "1e30"],
    timedelta: ["-PT1S", "PT0S", "P999999999D"],
}


def kinds_of(annotation: Any) -> tuple[Any, ...]:
    """The type of a field, or those of which it may be one."""
    return get_args(annotation) or (annotation,)


def test_every_setting_is_documented() -> None:
    assert settings.undocumented() == []


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.service)
def test_a_service_reads_each_variable_of_its_table(
    service: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = f"{service.service.upper()}_"
    named = [name for name, _ in ROW.findall(settings.page())]
    own = [name for name in named if name.startswith(prefix)]

    assert {name.removeprefix(prefix).lower() for name in own} >= (
        set(service.model_fields) - set(ServiceSettings.model_fields)
    )
    for name in own:
        monkeypatch.setenv(f"LOOPWRIGHT_{name}", "nothing takes this")
        with pytest.raises(ValueError, match=name.removeprefix(prefix).lower()):
            raise_unless_read(service, name.removeprefix(prefix).lower())
        monkeypatch.delenv(f"LOOPWRIGHT_{name}")


def raise_unless_read(service: type[ServiceSettings], field: str) -> None:
    """ValueError when the variable was read, either by its type or as it stands."""
    if getattr(service(), field) != service.model_fields[field].default:
        raise ValueError(field)


NUMBERS = [
    pytest.param(service, name, kind, id=f"{service.service}.{name}")
    for service in SERVICES
    for name, field in service.model_fields.items()
    for kind in [next((kind for kind in KINDS if kind in kinds_of(field.annotation)), None)]
    if kind is not None
]


@pytest.mark.parametrize(("service", "name", "kind"), NUMBERS)
def test_no_figure_is_taken_that_nothing_can_be_limited_to(
    service: type[ServiceSettings], name: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below nothing, without end, and past what kernels and clocks count to."""
    variable = f"LOOPWRIGHT_{service.service.upper()}_{name.upper()}"
    for absurd in KINDS[kind]:
        monkeypatch.setenv(variable, absurd)
        with pytest.raises(ValidationError) as refused:
            service()
        assert [error["loc"] for error in refused.value.errors()] == [(name,)], absurd
