"""Deployments, their steps, routes and the canary's counters."""

import sqlalchemy as sa
from alembic import op

revision = "dep001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _deployments()
    op.create_table(
        "deployment_steps",
        sa.Column("deployment_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("by", sa.String(255)),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_table(
        "routes",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("model_id", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("arms", sa.JSON, nullable=False),
        sa.Column("kept", sa.JSON, nullable=False),
        sa.Column("routing_key", sa.String(255)),
        sa.Column("changed_at", _TIME, nullable=False),
    )
    op.create_table(
        "canary_steps",
        sa.Column("deployment_id", sa.String(64), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("step", sa.Integer, nullable=False),
    )
    _counters()


def _deployments() -> None:
    op.create_table(
        "deployments",
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
        sa.Column("approved", sa.Boolean, nullable=False),
        sa.Column("forced", sa.Text),
        sa.Column("champion", sa.Boolean, nullable=False),
        sa.Column("previous", sa.Integer),
        sa.Column("serving_digest", sa.String(80)),
        sa.Column("serving_format", sa.String(64)),
        sa.Column("deadline", _TIME),
        sa.Column("state_since", _TIME, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("promoted_at", _TIME),
        sa.Column("registered", sa.JSON, nullable=False),
        sa.Column("cause", sa.JSON, nullable=False),
        sa.Column("checks", sa.JSON, nullable=False),
        sa.Column("report", sa.String(80)),
        sa.UniqueConstraint("environment", "model_id", "version", "attempt"),
    )
    op.create_index(
        "deployments_one_champion",
        "deployments",
        ["environment", "model_id"],
        unique=True,
        sqlite_where=sa.text("champion"),
        postgresql_where=sa.text("champion"),
    )
    under_way = sa.text("coalesce(paused_from, state) IN ('canary', 'promoting')")
    op.create_index(
        "deployments_one_under_way",
        "deployments",
        ["environment", "model_id"],
        unique=True,
        sqlite_where=under_way,
        postgresql_where=under_way,
    )
    op.create_index("deployments_by_state", "deployments", ["state"])


def _counters() -> None:
    op.create_table(
        "counters",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("model_id", sa.String(64), primary_key=True),
        sa.Column("replica", sa.String(255), primary_key=True),
        sa.Column("epoch", sa.String(64), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("latency_edges", sa.JSON, nullable=False),
        sa.Column("latency_counts", sa.JSON, nullable=False),
        sa.Column("tripped", sa.Text),
    )
