"""Tables of the trainer's database."""

import sqlalchemy as sa

from loopwright_common.sql import Moment

metadata = sa.MetaData()

repositories = sa.Table(
    "repositories",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("branch", sa.String(255), nullable=False),
    sa.Column("head", sa.String(64)),
    sa.Column("pipeline", sa.String(100), unique=True),
    sa.Column("branches", sa.JSON(none_as_null=True)),
    sa.Column("captured", sa.String(80)),
    sa.Column("problem", sa.Text),
    sa.Column("added_at", Moment, nullable=False),
)
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("repository", sa.String(100), nullable=False),
    sa.Column("pipeline", sa.String(100)),
    sa.Column("commit", sa.String(255)),
    sa.Column("ref", sa.String(255), nullable=False),
    sa.Column("paths", sa.JSON(none_as_null=True)),
    sa.Column("reason", sa.String(20), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("cause", sa.JSON, nullable=False),
    sa.Column("captured", sa.String(80)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("registering", sa.Boolean, nullable=False),
    sa.Column("register_key", sa.String(80)),
    sa.Column("tracking_run_id", sa.String(64)),
    sa.Column("model", sa.String(100)),
    sa.Column("version", sa.Integer),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("finished_at", Moment),
    sa.Index("runs_by_repository", "repository", "id"),
    sa.Index("runs_by_status", "status", "id"),
    sa.Index(
        "runs_one_at_a_time",
        "repository",
        unique=True,
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    ),
)
stage_runs = sa.Table(
    "stage_runs",
    metadata,
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
    sa.Column("pid", sa.Integer),
    sa.Column("pid_started", sa.Float),
)
step_entries = sa.Table(
    "step_entries",
    metadata,
    sa.Column("key", sa.String(80), primary_key=True),
    sa.Column("stage", sa.String(255), nullable=False),
    sa.Column("repository", sa.String(100), nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("commit", sa.String(64), nullable=False),
    sa.Column("parts", sa.JSON, nullable=False),
    sa.Column("outputs", sa.JSON, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("kept_at", Moment, nullable=False),
    sa.Index("step_entries_by_stage", "repository", "stage", "kept_at"),
)
