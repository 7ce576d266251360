"""Experiments; the default one has id 0."""

import sqlalchemy as sa
from alembic import op

from loopwright_registry.mlflow.columns import text

revision = "r001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "experiment_tags",
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("key", text(250), nullable=False),
        sa.Column("value", text(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "key"),
    )
    op.create_table(
        "experiments",
        sa.Column(
            "experiment_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("name", text(500), nullable=False),
        sa.Column("artifact_location", text(), nullable=False),
        sa.Column("lifecycle_stage", text(16), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id"),
        sa.UniqueConstraint("name"),
    )
    # MLflow's clients log to experiment 0 unless told otherwise.
    op.execute(
        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage,"
        " created_ms, updated_ms) VALUES (0, 'Default', 'mlflow-artifacts:/0', 'active', 0, 0)"
    )


def downgrade() -> None:
    op.drop_table("experiments")
    op.drop_table("experiment_tags")
