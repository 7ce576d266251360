"""Table of the archive."""

import sqlalchemy as sa

from loopwright_common.database import BigId
from loopwright_registry.mlflow.columns import text

metadata = sa.MetaData()

archive = sa.Table(
    "archive",
    metadata,
    sa.Column("position", BigId, primary_key=True, autoincrement=True),
    sa.Column("id", text(255), nullable=False, unique=True),
    sa.Column("topic", text(255), nullable=False),
    sa.Column("subject", text(512), nullable=False),
    sa.Column("model", text(256)),
    sa.Column("version", sa.Integer),
    sa.Column("time", text(40), nullable=False),
    sa.Column("causes", sa.JSON, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Index("archive_subject", "subject", "position"),
    sa.Index("archive_model", "model", "version", "position"),
    sa.Index("archive_topic", "topic", "position"),
)
