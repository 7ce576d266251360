"""Tables of logged models."""

import sqlalchemy as sa

from loopwright_registry.mlflow.columns import text

metadata = sa.MetaData()


def _model_id() -> sa.Column[str]:
    return sa.Column("model_id", text(64), primary_key=True)


logged_models = sa.Table(
    "logged_models",
    metadata,
    _model_id(),
    sa.Column("experiment_id", sa.BigInteger, nullable=False),
    sa.Column("name", text(500), nullable=False),
    sa.Column("artifact_uri", text(), nullable=False),
    sa.Column("status", text(32), nullable=False),
    sa.Column("model_type", text(500), nullable=False),
    sa.Column("source_run_id", text(256)),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Index("logged_models_experiment", "experiment_id", "created_ms"),
    sa.Index("logged_models_run", "source_run_id"),
    sa.Index("logged_models_artifacts", "artifact_uri"),
)
logged_model_tags = sa.Table(
    "logged_model_tags",
    metadata,
    _model_id(),
    sa.Column("key", text(250), primary_key=True),
    sa.Column("value", text(), nullable=False),
)
logged_model_params = sa.Table(
    "logged_model_params",
    metadata,
    _model_id(),
    sa.Column("key", text(250), primary_key=True),
    sa.Column("value", text(), nullable=False),
)
logged_model_metrics = sa.Table(
    "logged_model_metrics",
    metadata,
    _model_id(),
    sa.Column("key", text(250), primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("timestamp", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("run_id", text(256), primary_key=True),
    sa.Column("value", sa.Float(53), nullable=False),
    sa.Column("is_nan", sa.Boolean, nullable=False),
    sa.Column("dataset_name", text(500)),
    sa.Column("dataset_digest", text(36)),
)
