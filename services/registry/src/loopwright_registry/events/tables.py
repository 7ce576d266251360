"""Table of the archive."""

import sqlalchemy as sa

from loopwright_common.delivery_tables import BigId

metadata = sa.MetaData()

archive = sa.Table(
    "archive",
    metadata,
    sa.Column("position", BigId, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(255), nullable=False, unique=True),
    sa.Column("topic", sa.String(255), nullable=False),
    sa.Column("subject", sa.String(512), nullable=False),
    sa.Column("model", sa.String(256)),
    sa.Column("version", sa.Integer),
    sa.Column("time", sa.String(40), nullable=False),
    sa.Column("causes", sa.JSON, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Index("archive_subject", "subject", "position"),
    sa.Index("archive_model", "model", "version", "position"),
    sa.Index("archive_topic", "topic", "position"),
)
