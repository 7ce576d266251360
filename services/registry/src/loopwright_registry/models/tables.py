"""Tables of registered models, versions, aliases and seals."""

import sqlalchemy as sa

from loopwright_registry.mlflow.columns import text

metadata = sa.MetaData()


def _model_id() -> sa.Column[str]:
    return sa.Column("model_id", text(64), primary_key=True)


def _version() -> sa.Column[int]:
    return sa.Column("version", sa.Integer, primary_key=True, autoincrement=False)


registered_models = sa.Table(
    "registered_models",
    metadata,
    _model_id(),
    sa.Column("name", text(256), nullable=False, unique=True),
    sa.Column("description", text()),
    sa.Column("last_version", sa.Integer, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
)
registered_model_tags = sa.Table(
    "registered_model_tags",
    metadata,
    _model_id(),
    sa.Column("key", text(250), primary_key=True),
    sa.Column("value", text(), nullable=False),
)
model_versions = sa.Table(
    "model_versions",
    metadata,
    _model_id(),
    _version(),
    sa.Column("source", text(), nullable=False),
    sa.Column("run_id", text(256)),
    sa.Column("logged_model_id", text(64)),
    sa.Column("run_link", text()),
    sa.Column("description", text()),
    sa.Column("stage", text(16), nullable=False),
    sa.Column("status_message", text()),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Index("model_versions_run", "run_id"),
)
model_version_tags = sa.Table(
    "model_version_tags",
    metadata,
    _model_id(),
    _version(),
    sa.Column("key", text(250), primary_key=True),
    sa.Column("value", text(), nullable=False),
)
aliases = sa.Table(
    "aliases",
    metadata,
    _model_id(),
    sa.Column("alias", text(255), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
# Rows are only inserted: a seal is for good, and `model-registered` leaves with it.
seals = sa.Table(
    "seals",
    metadata,
    _model_id(),
    _version(),
    sa.Column("digest", text(80), nullable=False),
    sa.Column("event_id", text(64), nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
)
# The newest route the deployer reported, per environment; `versions` maps a number to what it does.
routes = sa.Table(
    "routes",
    metadata,
    _model_id(),
    sa.Column("environment", text(255), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),
)
# What the deployer decided last; `pending` until the version is known here.
champion_decisions = sa.Table(
    "champion_decisions",
    metadata,
    _model_id(),
    sa.Column("version", sa.Integer),
    sa.Column("decided_at", text(40), nullable=False),
    sa.Column("pending", sa.Boolean, nullable=False),
)
