"""What a field of a pydantic class takes, in words."""

from collections.abc import Mapping
from typing import Any

_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


def allowed_range(schema: Mapping[str, Any]) -> str:
    """The limits of a field's JSON schema, empty without any."""
    options = [schema, *schema.get("anyOf", [])]
    return ", ".join(
        f"{words} {option[key]}"
        for option in options
        for key, words in _LIMITS.items()
        if key in option
    )
