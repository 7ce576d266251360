"""The archive of events."""

import sqlalchemy as sa
from alembic import op

from loopwright_registry.mlflow.columns import text

revision = "r006"
down_revision = "r005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "archive",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", text(255), nullable=False),
        sa.Column("topic", text(255), nullable=False),
        sa.Column("subject", text(512), nullable=False),
        sa.Column("model", text(256), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("time", text(40), nullable=False),
        sa.Column("causes", sa.JSON(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("archive_model", "archive", ["model", "version", "position"], unique=False)
    op.create_index("archive_subject", "archive", ["subject", "position"], unique=False)
    op.create_index("archive_topic", "archive", ["topic", "position"], unique=False)


def downgrade() -> None:
    op.drop_table("archive")
