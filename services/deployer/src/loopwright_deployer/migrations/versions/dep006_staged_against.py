"""Which version was champion when a version was staged: its verdicts are relative to that."""

import sqlalchemy as sa
from alembic import op

revision = "dep006"
down_revision = "dep005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deployments", sa.Column("staged_against", sa.Integer))
