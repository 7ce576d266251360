"""Registered models, versions, aliases and seals."""

import sqlalchemy as sa
from alembic import op

from loopwright_registry.mlflow.columns import text

revision = "r004"
down_revision = "r003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "aliases",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("alias", text(255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "alias"),
    )
    op.create_table(
        "champion_decisions",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("decided_at", text(40), nullable=False),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("model_id"),
    )
    op.create_table(
        "model_version_tags",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", text(250), nullable=False),
        sa.Column("value", text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "version", "key"),
    )
    op.create_table(
        "model_versions",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("source", text(), nullable=False),
        sa.Column("run_id", text(256), nullable=True),
        sa.Column("logged_model_id", text(64), nullable=True),
        sa.Column("run_link", text(), nullable=True),
        sa.Column("description", text(), nullable=True),
        sa.Column("stage", text(16), nullable=False),
        sa.Column("status_message", text(), nullable=True),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "version"),
    )
    op.create_index("model_versions_run", "model_versions", ["run_id"], unique=False)
    op.create_table(
        "registered_model_tags",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("key", text(250), nullable=False),
        sa.Column("value", text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "key"),
    )
    op.create_table(
        "registered_models",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("name", text(256), nullable=False),
        sa.Column("description", text(), nullable=True),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "seals",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", text(80), nullable=False),
        sa.Column("event_id", text(64), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "version"),
    )


def downgrade() -> None:
    op.drop_table("seals")
    op.drop_table("registered_models")
    op.drop_table("registered_model_tags")
    op.drop_table("model_versions")
    op.drop_table("model_version_tags")
    op.drop_table("champion_decisions")
    op.drop_table("aliases")
