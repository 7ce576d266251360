"""Artifact paths."""

import sqlalchemy as sa
from alembic import op

from loopwright_registry.mlflow.columns import text

revision = "r005"
down_revision = "r004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "artifact_files",
        sa.Column("path", text(1024), nullable=False),
        sa.Column("digest", text(80), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("path"),
    )


def downgrade() -> None:
    op.drop_table("artifact_files")
