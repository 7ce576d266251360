"""Repositories, runs, their stages, and kept step results."""

import sqlalchemy as sa
from alembic import op

revision = "t001"
down_revision = None
branch_labels = None
depends_on = None


def _utc_datetime() -> sa.DateTime:
    return sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "repositories",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("branch", sa.String(255), nullable=False),
        sa.Column("head", sa.String(64)),
        sa.Column("pipeline", sa.String(100), unique=True),
        sa.Column("branches", sa.JSON),
        sa.Column("captured", sa.String(80)),
        sa.Column("problem", sa.Text),
        sa.Column("added_at", _utc_datetime(), nullable=False),
    )
    _create_runs()
    _create_stages()
    _create_entries()


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("repository", sa.String(100), nullable=False),
        sa.Column("pipeline", sa.String(100)),
        sa.Column("commit", sa.String(255)),
        sa.Column("ref", sa.String(255), nullable=False),
        sa.Column("paths", sa.JSON),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("cause", sa.JSON, nullable=False),
        sa.Column("captured", sa.String(80)),
        sa.Column("retry_of", sa.String(64)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("registering", sa.Boolean, nullable=False),
        sa.Column("register_key", sa.String(80)),
        sa.Column("tracking_run_id", sa.String(64)),
        sa.Column("model", sa.String(100)),
        sa.Column("version", sa.Integer),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("created_at", _utc_datetime(), nullable=False),
        sa.Column("started_at", _utc_datetime()),
        sa.Column("finished_at", _utc_datetime()),
    )
    op.create_index("runs_by_repository", "runs", ["repository", "id"])
    op.create_index("runs_by_status", "runs", ["status", "id"])
    running = sa.text("status = 'running'")
    op.create_index(
        "runs_one_at_a_time",
        "runs",
        ["repository"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    waiting = sa.text("status = 'queued' AND retry_of IS NULL")
    op.create_index(
        "runs_one_waiting",
        "runs",
        ["repository", "ref"],
        unique=True,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )


def _create_stages() -> None:
    op.create_table(
        "stage_runs",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("key", sa.String(80)),
        sa.Column("reusable", sa.Boolean, nullable=False),
        sa.Column("outputs", sa.JSON, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("logs", sa.JSON, nullable=False),
        sa.Column("host", sa.String(255)),
        sa.Column("pid", sa.Integer),
        sa.Column("pid_started", sa.Float),
    )
    op.create_index("stage_runs_by_key", "stage_runs", ["key"])


def _create_entries() -> None:
    op.create_table(
        "step_entries",
        sa.Column("key", sa.String(80), primary_key=True),
        sa.Column("stage", sa.String(255), nullable=False),
        sa.Column("repository", sa.String(100), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("commit", sa.String(64), nullable=False),
        sa.Column("parts", sa.JSON, nullable=False),
        sa.Column("outputs", sa.JSON, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("kept_at", _utc_datetime(), nullable=False),
    )
    op.create_index("step_entries_by_stage", "step_entries", ["repository", "stage", "kept_at"])


def downgrade() -> None:
    for table in ("step_entries", "stage_runs", "runs", "repositories"):
        op.drop_table(table)
