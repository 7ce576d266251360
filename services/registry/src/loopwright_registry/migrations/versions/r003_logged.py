"""Logged models."""

import sqlalchemy as sa
from alembic import op

from loopwright_registry.mlflow.columns import text

revision = "r003"
down_revision = "r002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "logged_model_metrics",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("key", text(250), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("timestamp", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run_id", text(256), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("is_nan", sa.Boolean(), nullable=False),
        sa.Column("dataset_name", text(500), nullable=True),
        sa.Column("dataset_digest", text(36), nullable=True),
        sa.PrimaryKeyConstraint("model_id", "key", "step", "timestamp", "run_id"),
    )
    op.create_table(
        "logged_model_params",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("key", text(250), nullable=False),
        sa.Column("value", text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "key"),
    )
    op.create_table(
        "logged_model_tags",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("key", text(250), nullable=False),
        sa.Column("value", text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "key"),
    )
    op.create_table(
        "logged_models",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", text(500), nullable=False),
        sa.Column("artifact_uri", text(), nullable=False),
        sa.Column("status", text(32), nullable=False),
        sa.Column("model_type", text(500), nullable=False),
        sa.Column("source_run_id", text(256), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_id"),
    )
    op.create_index(
        "logged_models_experiment", "logged_models", ["experiment_id", "created_ms"], unique=False
    )
    op.create_index("logged_models_run", "logged_models", ["source_run_id"], unique=False)
    op.create_index("logged_models_artifacts", "logged_models", ["artifact_uri"], unique=False)


def downgrade() -> None:
    op.drop_table("logged_models")
    op.drop_table("logged_model_tags")
    op.drop_table("logged_model_params")
    op.drop_table("logged_model_metrics")
