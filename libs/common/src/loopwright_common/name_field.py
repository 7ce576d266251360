"""A name that people give, as a field of a request."""

from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from loopwright_common.names import check_name


def _checked(name: str, info: ValidationInfo) -> str:
    check_name(info.field_name or "name", name)
    return name


Name = Annotated[str, AfterValidator(_checked)]
"""Raises InvalidError, which names the field, where `check_name` does."""
