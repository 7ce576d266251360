"""Tables of runs. A NaN is the row's `is_nan`, since databases keep it differently."""

import sqlalchemy as sa

from loopwright_registry.mlflow.columns import text

metadata = sa.MetaData()


def _run_id() -> sa.Column[str]:
    return sa.Column("run_id", text(256), primary_key=True)


runs = sa.Table(
    "runs",
    metadata,
    _run_id(),
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("name", text(), nullable=False),
    sa.Column("user_id", text(256), nullable=False),
    sa.Column("status", text(16), nullable=False),
    sa.Column("start_ms", sa.BigInteger),
    sa.Column("end_ms", sa.BigInteger),
    sa.Column("artifact_uri", text(), nullable=False),
    sa.Column("lifecycle_stage", text(16), nullable=False),
    sa.Index("runs_experiment", "experiment_id", "start_ms"),
    sa.Index("runs_artifacts", "artifact_uri"),
)
run_attempts = sa.Table(
    "run_attempts",
    metadata,
    _run_id(),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("sha256", text(64), nullable=False),
)
params = sa.Table(
    "params",
    metadata,
    _run_id(),
    sa.Column("key", text(250), primary_key=True),
    sa.Column("value", text(), nullable=False),
)
run_tags = sa.Table(
    "run_tags",
    metadata,
    _run_id(),
    sa.Column("key", text(250), primary_key=True),
    sa.Column("value", text(), nullable=False),
)
metrics = sa.Table(
    "metrics",
    metadata,
    _run_id(),
    sa.Column("key", text(250), primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("timestamp", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("value", sa.Float(53), primary_key=True),
    sa.Column("is_nan", sa.Boolean, primary_key=True),
)
latest_metrics = sa.Table(
    "latest_metrics",
    metadata,
    _run_id(),
    sa.Column("key", text(250), primary_key=True),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("timestamp", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Float(53), nullable=False),
    sa.Column("is_nan", sa.Boolean, nullable=False),
)
dataset_inputs = sa.Table(
    "dataset_inputs",
    metadata,
    _run_id(),
    sa.Column("name", text(500), primary_key=True),
    sa.Column("digest", text(36), primary_key=True),
    sa.Column("source_type", text(36), nullable=False),
    sa.Column("source", text(), nullable=False),
    sa.Column("schema", text()),
    sa.Column("profile", text()),
    sa.Column("tags", sa.JSON, nullable=False),
)
model_inputs = sa.Table(
    "model_inputs",
    metadata,
    _run_id(),
    sa.Column("model_id", text(64), primary_key=True),
)
model_outputs = sa.Table(
    "model_outputs",
    metadata,
    _run_id(),
    sa.Column("model_id", text(64), primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
)
