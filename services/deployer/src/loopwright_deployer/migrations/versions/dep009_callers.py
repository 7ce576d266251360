"""Calls of a canary by callers who are bound to one arm."""

import sqlalchemy as sa
from alembic import op

revision = "dep009"
down_revision = "dep008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("caller_counts", "caller_shares"):
        column = sa.Column(name, sa.JSON, nullable=False, server_default="[]")
        op.add_column("counters", column)
