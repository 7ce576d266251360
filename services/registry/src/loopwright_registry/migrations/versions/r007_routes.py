"""Routes of models, as the deployer tells them."""

import sqlalchemy as sa
from alembic import op

from loopwright_registry.mlflow.columns import text

revision = "r007"
down_revision = "r006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "routes",
        sa.Column("model_id", text(64), nullable=False),
        sa.Column("environment", text(255), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "environment"),
    )


def downgrade() -> None:
    op.drop_table("routes")
