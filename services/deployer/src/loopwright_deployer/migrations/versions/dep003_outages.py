"""Since when a deployment has been failing of what passes, and when it is tried again."""

import sqlalchemy as sa
from alembic import op

revision = "dep003"
down_revision = "dep002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("failing_since", "retry_at"):
        op.add_column("deployments", sa.Column(name, sa.DateTime(timezone=True)))
