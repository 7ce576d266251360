"""Table of artifact paths."""

import sqlalchemy as sa

metadata = sa.MetaData()
# Directories are ranges of paths, so paths sort by bytes on every database.
Path = sa.String(1024).with_variant(sa.String(1024, collation="C"), "postgresql")

artifact_files = sa.Table(
    "artifact_files",
    metadata,
    sa.Column("path", Path, primary_key=True),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
)
