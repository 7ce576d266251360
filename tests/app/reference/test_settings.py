"""The reference of all settings says what the services read."""

import re

import pytest

from loopwright.reference import settings
from loopwright.reference.settings import SERVICES
from loopwright_common.settings import ServiceSettings

ROW = re.compile(r"^\| `LOOPWRIGHT_([A-Z_]+)` \| .* \| (.+) \|$", re.MULTILINE)


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
