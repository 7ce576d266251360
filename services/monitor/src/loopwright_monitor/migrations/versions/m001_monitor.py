"""Versions, detectors, episodes, captured rows, labels and what was decided."""

from alembic import op

from loopwright_monitor.tables import metadata

revision = "m001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    metadata.drop_all(op.get_bind())
