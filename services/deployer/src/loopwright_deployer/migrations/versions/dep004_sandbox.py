"""At which level of the sandbox a version was packaged and staged."""

import sqlalchemy as sa
from alembic import op

revision = "dep004"
down_revision = "dep003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deployments", sa.Column("sandbox", sa.String(16)))
