"""Promoted canaries whose calls are counted as their labels come."""

import sqlalchemy as sa
from alembic import op

revision = "m002"
down_revision = "m001"
branch_labels = None
depends_on = None
_ID = sa.String(255)


def upgrade() -> None:
    op.create_table(
        "canary_labels",
        sa.Column("deployment_id", _ID, primary_key=True),
        sa.Column("environment", _ID, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("model", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("previous", sa.Integer(), nullable=False),
        sa.Column("periods", sa.JSON(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cause", sa.JSON(), nullable=False),
        sa.Column("wrong_above", sa.Float()),
        sa.Column("marks", sa.BigInteger(), nullable=False),
        sa.Column("counted", sa.BigInteger(), nullable=False),
    )
    op.create_index("canary_labels_model", "canary_labels", ["model_id"])
    op.create_index("scores_version", "scores", ["model_id", "version", "time"])
