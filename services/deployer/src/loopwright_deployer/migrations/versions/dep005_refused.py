"""Requests that one arm of a canary refused and the other answered."""

import sqlalchemy as sa
from alembic import op

revision = "dep005"
down_revision = "dep004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "counters", sa.Column("refused", sa.BigInteger, nullable=False, server_default="0")
    )
