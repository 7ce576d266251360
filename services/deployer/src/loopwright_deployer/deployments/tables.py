"""The deployer's tables; the migrations create them."""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from loopwright_common.database import UtcDateTime, in_values
from loopwright_deployer.deployments.domain import ModelKey

metadata = sa.MetaData()

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("environment", sa.String(64), nullable=False),
    sa.Column("model_id", sa.String(64), nullable=False),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("waits", sa.Text),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("paused_from", sa.String(32)),
    sa.Column("staged", sa.Boolean, nullable=False),
    sa.Column("staged_against", sa.Integer),
    sa.Column("gates", sa.JSON, nullable=False),
    sa.Column("champion", sa.Boolean, nullable=False),
    sa.Column("previous", sa.Integer),
    sa.Column("serving_digest", sa.String(80)),
    sa.Column("serving_format", sa.String(64)),
    sa.Column("deadline", UtcDateTime),
    sa.Column("failing_since", UtcDateTime),
    sa.Column("retry_at", UtcDateTime),
    sa.Column("sandbox", sa.String(16)),
    sa.Column("state_since", UtcDateTime, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("promoted_at", UtcDateTime),
    sa.Column("registered", sa.JSON, nullable=False),
    sa.Column("cause", sa.JSON, nullable=False),
    sa.Column("checks", sa.JSON, nullable=False),
    sa.Column("report", sa.String(80)),
    sa.UniqueConstraint("environment", "model_id", "version", "attempt"),
    sa.Index(
        "deployments_one_champion",
        "environment",
        "model_id",
        unique=True,
        sqlite_where=sa.text("champion"),
        postgresql_where=sa.text("champion"),
    ),
    sa.Index(
        "deployments_one_under_way",
        "environment",
        "model_id",
        unique=True,
        sqlite_where=sa.text("coalesce(paused_from, state) IN ('canary', 'promoting')"),
        postgresql_where=sa.text("coalesce(paused_from, state) IN ('canary', 'promoting')"),
    ),
    sa.Index("deployments_by_state", "state"),
)
steps = sa.Table(
    "deployment_steps",
    metadata,
    sa.Column("deployment_id", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("by", sa.String(255)),
    sa.Column("at", UtcDateTime, nullable=False),
)
routes = sa.Table(
    "routes",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("model_id", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("arms", sa.JSON, nullable=False),
    sa.Column("kept", sa.JSON, nullable=False),
    sa.Column("routing_key", sa.String(255)),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("aliases", sa.JSON),
    sa.Column("record", sa.JSON),
)
aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("model_id", sa.String(64), primary_key=True),
    sa.Column("alias", sa.String(255), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
canary_steps = sa.Table(
    "canary_steps",
    metadata,
    sa.Column("deployment_id", sa.String(64), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("step", sa.Integer, nullable=False),
)
canary_looks = sa.Table(
    "canary_looks",
    metadata,
    sa.Column("deployment_id", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("checks", sa.JSON, nullable=False),
)
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("environment", sa.String(64), primary_key=True),
    sa.Column("model_id", sa.String(64), primary_key=True),
    sa.Column("replica", sa.String(255), primary_key=True),
    sa.Column("epoch", sa.String(64), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("refused", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("latency_edges", sa.JSON, nullable=False),
    sa.Column("latency_counts", sa.JSON, nullable=False),
    sa.Column("caller_counts", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("caller_shares", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("tripped", sa.Text),
)


def of_models(
    connection: AsyncConnection, table: sa.Table, models: Collection[ModelKey]
) -> sa.ColumnElement[bool]:
    """Rows of the models; maybe also of one that has another's id in its own environment."""
    environments = sorted({environment for environment, _ in models})
    ids = sorted({model_id for _, model_id in models})
    return sa.and_(
        in_values(connection, table.c.environment, environments),
        in_values(connection, table.c.model_id, ids),
    )
