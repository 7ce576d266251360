"""MLflow's filter and order grammar, one parser for all searches: clauses joined by AND.

The grammar is that of https://mlflow.org/docs/latest/ml/search/search-runs and its siblings.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from loopwright_common.errors import InvalidError

Value = str | float | tuple[str, ...] | None
KINDS = {
    "": "attribute",
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "run": "attribute",
    "metric": "metric",
    "metrics": "metric",
    "param": "param",
    "params": "param",
    "parameter": "param",
    "parameters": "param",
    "tag": "tag",
    "tags": "tag",
    "dataset": "dataset",
    "datasets": "dataset",
}
TEXT_OPERATORS = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL")
PROMPT_TAG = "mlflow.prompt.is_prompt"
NUMBER_OPERATORS = ("=", "!=", "<", "<=", ">", ">=")

_NAME = r"""(?:(?P<kind>\w+)\s*\.\s*)?(?P<key>`[^`]+`|"[^"]+"|[\w./:-]+)"""
_CLAUSE = re.compile(
    rf"""\s*{_NAME}\s*
    (?:(?P<null>IS\s+NOT\s+NULL|IS\s+NULL)
    |(?P<operator>NOT\s+IN\b|IN\b|ILIKE\b|LIKE\b|>=|<=|!=|=|<|>)\s*
    (?P<value>'[^']*'|"[^"]*"|\([^)]*\)|[+-]?[\w.+-]+)?)\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_AND = re.compile(r"AND\b", re.IGNORECASE)
_ORDER = re.compile(rf"\s*{_NAME}(?:\s+(?P<direction>ASC|DESC))?\s*", re.IGNORECASE)
_ITEM = re.compile(r"""'[^']*'|"[^"]*"|[^,\s]+""")


@dataclass(frozen=True, slots=True)
class Condition:
    """One clause: `kind` is attribute, metric, param, tag or dataset.

    `operator` is one of the above or LACKS.
    """

    kind: str
    key: str
    operator: str
    value: Value


def models_only(conditions: Sequence[Condition]) -> list[Condition]:
    """Leave prompts out unless they are asked for: they are registered like models.

    Clients ask for models as "tag is not 'true'", which would leave out models without the tag.
    """
    named = [condition for condition in conditions if condition.key == PROMPT_TAG]
    if any((each.operator, each.value) in (("=", "true"), ("!=", "false")) for each in named):
        return list(conditions)
    others = [condition for condition in conditions if condition.key != PROMPT_TAG]
    return [*others, Condition("tag", PROMPT_TAG, "LACKS", "true")]


@dataclass(frozen=True, slots=True)
class OrderBy:
    """One column of an order; `kind` is as of a Condition."""

    kind: str
    key: str
    ascending: bool = True


def parse_filter(text: str | None) -> list[Condition]:
    """The conditions, all of which must hold.

    Raises InvalidError that shows where the text goes wrong.
    """
    conditions: list[Condition] = []
    rest = (text or "").strip()
    while rest:
        found = _CLAUSE.match(rest)
        if not found:
            raise _syntax_error(
                "filter", rest, "write clauses such as tags.stage = 'a' joined by AND"
            )
        conditions.append(_condition(found))
        rest = rest[found.end() :]
        if rest:
            joint = _AND.match(rest)
            if not joint:
                raise _syntax_error(
                    "filter", rest, "join clauses by AND; OR, NOT and ( ) are not known"
                )
            rest = rest[joint.end() :].strip() or " "
    return conditions


def parse_order(texts: Sequence[str]) -> list[OrderBy]:
    """What to order by, the most important first; raises InvalidError for a field named twice."""
    orders = []
    for text in texts:
        found = _ORDER.fullmatch(text)
        if not found:
            raise _syntax_error("order_by", text, "write a field and ASC or DESC")
        kind, key = _field_of(found)
        orders.append(OrderBy(kind, key, (found["direction"] or "ASC").upper() == "ASC"))
    if len({(order.kind, order.key) for order in orders}) < len(orders):
        raise InvalidError("order_by: a field is named twice", field="order_by")
    return orders


def _condition(found: re.Match[str]) -> Condition:
    kind, key = _field_of(found)
    operator = " ".join((found["null"] or found["operator"]).upper().split())
    if found["null"]:
        return Condition(kind, key, operator, None)
    if found["value"] is None:
        raise _syntax_error("filter", found[0], "the value is missing")
    return Condition(kind, key, operator, _value(found["value"], operator))


def _field_of(found: re.Match[str]) -> tuple[str, str]:
    kind = KINDS.get((found["kind"] or "").lower())
    if kind is None:
        raise _syntax_error(
            "filter", found[0], f"{found['kind']!r} is none of {', '.join(KINDS)[2:]}"
        )
    return kind, found["key"].strip('`"')


def _value(text: str, operator: str) -> Value:
    if operator in ("IN", "NOT IN"):
        if not text.startswith("("):
            raise _syntax_error("filter", text, "IN needs a list such as ('a', 'b')")
        return tuple(item.strip("'\"") for item in _ITEM.findall(text[1:-1]))
    if text[0] in "'\"":
        return text[1:-1]
    try:
        return float(text)
    except ValueError:
        raise _syntax_error("filter", text, "put text into quotes") from None


def _syntax_error(field: str, text: str, remedy: str) -> InvalidError:
    return InvalidError(f"Invalid {field} near {text.strip()[:60]!r}: {remedy}", field=field)
