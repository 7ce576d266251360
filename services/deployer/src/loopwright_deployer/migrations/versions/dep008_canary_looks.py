"""What canaries were judged by at each look, and what was decided."""

import sqlalchemy as sa
from alembic import op

from loopwright_common.database import UtcDateTime

revision = "dep008"
down_revision = "dep007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "canary_looks",
        sa.Column("deployment_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("checks", sa.JSON, nullable=False),
    )
