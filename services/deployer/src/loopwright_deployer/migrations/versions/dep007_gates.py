"""How each gate beyond staging was passed, in place of `approved` and `forced`."""

import sqlalchemy as sa
from alembic import op

revision = "dep007"
down_revision = "dep006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "deployments", sa.Column("gates", sa.JSON, nullable=False, server_default=sa.text("'{}'"))
    )
    op.execute("""UPDATE deployments SET gates = '{"approval": "approved"}' WHERE approved""")
    for column in ("approved", "forced"):
        op.drop_column("deployments", column)
