"""The sandbox level of stages and of what they left."""

import sqlalchemy as sa
from alembic import op

revision = "t002"
down_revision = "t001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("stage_runs", "step_entries"):
        op.add_column(table, sa.Column("sandbox", sa.String(20)))


def downgrade() -> None:
    for table in ("stage_runs", "step_entries"):
        op.drop_column(table, "sandbox")
