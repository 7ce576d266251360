"""Which settings may hold a secret, told from the settings classes themselves."""

from collections.abc import Iterator

from loopwright_common.settings import ServiceSettings


def may_hold_secrets(settings: type[ServiceSettings]) -> Iterator[str]:
    """Settings that are a secret, or a URL, which may have a password."""
    for name in settings.model_fields:
        if is_secret(settings, name) or "url" in name or name.endswith("endpoint"):
            yield name


def is_secret(settings: type[ServiceSettings], name: str) -> bool:
    return "SecretStr" in str(settings.model_fields[name].annotation)
