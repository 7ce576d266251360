"""Table of artifact paths."""

import sqlalchemy as sa

from loopwright_registry.mlflow.columns import text

metadata = sa.MetaData()

artifact_files = sa.Table(
    "artifact_files",
    metadata,
    sa.Column("path", text(1024), primary_key=True),
    sa.Column("digest", text(80), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
)
