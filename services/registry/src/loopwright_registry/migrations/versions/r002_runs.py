"""Runs and what is logged to them."""

import sqlalchemy as sa
from alembic import op

from loopwright_registry.mlflow.columns import text

revision = "r002"
down_revision = "r001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dataset_inputs",
        sa.Column("run_id", text(256), nullable=False),
        sa.Column("name", text(500), nullable=False),
        sa.Column("digest", text(36), nullable=False),
        sa.Column("source_type", text(36), nullable=False),
        sa.Column("source", text(), nullable=False),
        sa.Column("schema", text(), nullable=True),
        sa.Column("profile", text(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", "digest"),
    )
    op.create_table(
        "latest_metrics",
        sa.Column("run_id", text(256), nullable=False),
        sa.Column("key", text(250), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("is_nan", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "key"),
    )
    op.create_table(
        "metrics",
        sa.Column("run_id", text(256), nullable=False),
        sa.Column("key", text(250), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("timestamp", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("is_nan", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "key", "step", "timestamp", "value", "is_nan"),
    )
    op.create_table(
        "model_inputs",
        sa.Column("run_id", text(256), nullable=False),
        sa.Column("model_id", text(64), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "model_id"),
    )
    op.create_table(
        "model_outputs",
        sa.Column("run_id", text(256), nullable=False),
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "model_id", "step"),
    )
    op.create_table(
        "params",
        sa.Column("run_id", text(256), nullable=False),
        sa.Column("key", text(250), nullable=False),
        sa.Column("value", text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "key"),
    )
    op.create_table(
        "run_tags",
        sa.Column("run_id", text(256), nullable=False),
        sa.Column("key", text(250), nullable=False),
        sa.Column("value", text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "key"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", text(256), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", text(), nullable=False),
        sa.Column("user_id", text(256), nullable=False),
        sa.Column("status", text(16), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=True),
        sa.Column("end_ms", sa.BigInteger(), nullable=True),
        sa.Column("artifact_uri", text(), nullable=False),
        sa.Column("lifecycle_stage", text(16), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("runs_experiment", "runs", ["experiment_id", "start_ms"], unique=False)
    op.create_index("runs_artifacts", "runs", ["artifact_uri"], unique=False)
    op.create_table(
        "run_attempts",
        sa.Column("run_id", text(256), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("sha256", text(64), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )


def downgrade() -> None:
    op.drop_table("run_attempts")
    op.drop_table("runs")
    op.drop_table("run_tags")
    op.drop_table("params")
    op.drop_table("model_outputs")
    op.drop_table("model_inputs")
    op.drop_table("metrics")
    op.drop_table("latest_metrics")
    op.drop_table("dataset_inputs")
