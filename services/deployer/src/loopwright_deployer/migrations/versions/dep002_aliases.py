"""Aliases of the registry, and what a route says of them and of records."""

import sqlalchemy as sa
from alembic import op

revision = "dep002"
down_revision = "dep001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "aliases",
        sa.Column("environment", sa.String(64), primary_key=True),
        sa.Column("model_id", sa.String(64), primary_key=True),
        sa.Column("alias", sa.String(255), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.add_column("routes", sa.Column("aliases", sa.JSON))
    op.add_column("routes", sa.Column("record", sa.JSON))
