"""SQL that several repositories share: writes that may repeat, and filters turned into SQL."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.errors import InvalidError
from loopwright_registry.mlflow.filters import NUMBER_OPERATORS, TEXT_OPERATORS, Condition, OrderBy
from loopwright_registry.mlflow.paging import PageRequest

Rows = Sequence[Mapping[str, Any]]
Clause = sa.ColumnElement[bool]
MAX_VARIABLES = 500


async def insert_new(connection: AsyncConnection, table: sa.Table, rows: Rows) -> int:
    """Insert what does not exist yet; returns how many rows did not."""
    if not rows:
        return 0
    statement = _dialect(connection).insert(table).on_conflict_do_nothing()
    return (await connection.execute(statement, _in_order(table, rows))).rowcount


async def upsert(connection: AsyncConnection, table: sa.Table, rows: Rows) -> None:
    """Insert rows; those whose primary key exists get the new values."""
    if not rows:
        return
    statement = _dialect(connection).insert(table)
    keys = [column.name for column in table.primary_key]
    changes = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    written = statement.on_conflict_do_update(index_elements=keys, set_=changes)
    await connection.execute(written, _in_order(table, rows))


def _in_order(table: sa.Table, rows: Rows) -> list[Mapping[str, Any]]:
    """Rows in the order of their keys, so that two writers of the same rows cannot deadlock."""
    keys = [column.name for column in table.primary_key]
    return sorted(rows, key=lambda row: [row[name] for name in keys if name in row])


def _dialect(connection: AsyncConnection) -> Any:
    return sqlite if connection.dialect.name == "sqlite" else postgresql


def chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    """Parts small enough for one IN list."""
    return [ids[start : start + MAX_VARIABLES] for start in range(0, len(ids), MAX_VARIABLES)]


@dataclass(frozen=True, slots=True)
class KeyValueTable:
    """A table of key and value per entity; `joined` ties its rows to the entity's."""

    joined: Clause
    key: sa.Column[str]
    value: sa.Column[Any]
    is_nan: sa.Column[bool] | None = None
    newest: Sequence[sa.ColumnElement[Any]] = ()
    """Which row counts, first first, where an entity has several of one key."""


@dataclass(frozen=True, slots=True)
class SearchableColumns:
    """What MLflow's filters can ask of an entity: columns by attribute name, key tables by kind.

    InvalidError names a field that is none of them.
    """

    attributes: Mapping[str, sa.Column[Any]]
    keyed: Mapping[str, KeyValueTable] = field(default_factory=dict)

    def where(self, conditions: Sequence[Condition]) -> list[Clause]:
        return [self._clause(condition) for condition in conditions]

    def order(self, orders: Sequence[OrderBy], ties: Sequence[Any]) -> list[Any]:
        """Columns to sort by: missing keys last in both directions, NaN after the numbers."""
        columns: list[Any] = []
        for order in orders:
            if order.kind == "attribute":
                column = self._attribute(order.key)
                columns += [column.is_(None), _directed(column, order)]
            else:
                columns += _keyed_order(self._keyed(order.kind), order)
        return [*columns, *ties]

    def _clause(self, condition: Condition) -> Clause:
        if condition.kind == "attribute":
            return _compared(self._attribute(condition.key), condition)
        table = self._keyed(condition.kind)
        here = sa.and_(table.joined, table.key == condition.key)
        if condition.operator == "IS NULL":
            return ~sa.exists().where(here)
        if condition.operator == "IS NOT NULL":
            return sa.exists().where(here)
        if condition.operator == "LACKS":
            return ~sa.exists().where(here, table.value == condition.value)
        return sa.exists().where(here, _value_holds(table, condition))

    def _attribute(self, name: str) -> sa.Column[Any]:
        if name not in self.attributes:
            known = ", ".join(self.attributes)
            raise InvalidError(f"Invalid attribute key '{name}': known are {known}")
        return self.attributes[name]

    def _keyed(self, kind: str) -> KeyValueTable:
        if kind not in self.keyed:
            raise InvalidError(f"Invalid filter: {kind}s cannot be searched here")
        return self.keyed[kind]


def limit_to_page(query: sa.Select[Any], page: PageRequest) -> sa.Select[Any]:
    """Read one row more than the page, to know whether there is a next one."""
    return query.limit(page.size + 1).offset(page.offset)


def _value_holds(table: KeyValueTable, condition: Condition) -> Clause:
    holds = _compared(table.value, condition)
    if table.is_nan is None:
        return holds
    return sa.or_(table.is_nan, holds) if condition.operator == "!=" else ~table.is_nan & holds


def _compared(column: sa.Column[Any], condition: Condition) -> Clause:
    operator, value = condition.operator, condition.value
    if isinstance(column.type, sa.Integer | sa.Float):
        return _number_compared(column, condition)
    if operator not in TEXT_OPERATORS or isinstance(value, float):
        raise InvalidError(f"Invalid filter: {condition.key} is text; use = != LIKE ILIKE 'text'")
    if operator.startswith("IS "):
        return column.is_(None) if operator == "IS NULL" else column.is_not(None)
    if operator in ("IN", "NOT IN"):
        listed = column.in_(value)  # type: ignore[arg-type]
        return ~listed if operator == "NOT IN" else listed
    return _text_compared(column, operator, str(value))


def _text_compared(column: sa.Column[Any], operator: str, value: str) -> Clause:
    if operator == "LIKE":
        return _like(column, value)
    if operator == "ILIKE":
        return column.ilike(value.replace("\\", "\\\\"), escape="\\")
    return column == value if operator == "=" else column != value


def _number_compared(column: sa.Column[Any], condition: Condition) -> Clause:
    try:
        value = float(condition.value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InvalidError(f"Invalid filter: {condition.key} is compared with a number")
    if condition.operator not in NUMBER_OPERATORS:
        raise InvalidError(f"Invalid filter: {condition.key} is a number; use = != < <= > >=")
    operator = {"=": "=", "!=": "<>"}.get(condition.operator, condition.operator)
    return column.bool_op(operator)(sa.literal(value, sa.Float(53)))


def _like(column: sa.Column[Any], pattern: str) -> Clause:
    """LIKE that minds the case on every database; SQLite's own does not.

    What the expression says is the same in Python, which SQLite asks, and in PostgreSQL.
    """
    wild = {"%": ".*", "_": "."}
    expression = "".join(wild.get(letter) or re.escape(letter) for letter in pattern)
    return column.regexp_match(rf"(?s)\A{expression}\Z")


def _directed(column: Any, order: OrderBy) -> Any:
    return column.asc() if order.ascending else column.desc()


def _keyed_order(table: KeyValueTable, order: OrderBy) -> list[Any]:
    value = _one(table, order.key, table.value)
    columns: list[Any] = [value.is_(None)]
    if table.is_nan is not None:
        columns.append(_one(table, order.key, table.is_nan))
    return [*columns, _directed(value, order)]


def _one(table: KeyValueTable, key: str, column: sa.Column[Any]) -> sa.ScalarSelect[Any]:
    query = sa.select(column).where(table.joined, table.key == key)
    return query.order_by(*table.newest).limit(1).scalar_subquery()
