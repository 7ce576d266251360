"""Tables of experiments."""

import sqlalchemy as sa

from loopwright_common.database import BigId
from loopwright_registry.mlflow.columns import text

metadata = sa.MetaData()

experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("experiment_id", BigId, primary_key=True, autoincrement=True),
    sa.Column("name", text(500), nullable=False, unique=True),
    sa.Column("artifact_location", text(), nullable=False),
    sa.Column("lifecycle_stage", text(16), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
)
experiment_tags = sa.Table(
    "experiment_tags",
    metadata,
    sa.Column("experiment_id", sa.BigInteger, primary_key=True),
    sa.Column("key", text(250), primary_key=True),
    sa.Column("value", text(), nullable=False),
)
