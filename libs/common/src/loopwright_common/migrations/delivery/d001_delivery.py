"""Outbox, inbox, positions, parked records and dead letters."""

from alembic import op

from loopwright_common.database.delivery_tables import metadata

revision = "d001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    metadata.drop_all(op.get_bind())
