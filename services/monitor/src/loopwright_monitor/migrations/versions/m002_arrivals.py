"""Batches that are missing, and where collected rows stand in their model."""

import sqlalchemy as sa
from alembic import op

revision = "m002"
down_revision = "m001"
branch_labels = None
depends_on = None
_ID = sa.String(255)


def upgrade() -> None:
    for name in ("missed", "dropped"):
        op.add_column(
            "models", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        )
    op.add_column(
        "first_rows", sa.Column("start", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.create_table(
        "arrivals",
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("replica", _ID, nullable=False),
        sa.Column("epoch", _ID, nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "replica", "epoch"),
    )
    op.execute("DELETE FROM detectors")  # its arrays changed their types


def downgrade() -> None:
    op.drop_table("arrivals")
    op.drop_column("first_rows", "start")
    op.drop_column("models", "dropped")
    op.drop_column("models", "missed")
