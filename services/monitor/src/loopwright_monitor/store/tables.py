"""The monitor's tables; the migrations create them."""

import sqlalchemy as sa

from loopwright_common.database import UtcDateTime

metadata = sa.MetaData()
_Id = sa.String(255)
_Time = UtcDateTime()
_Position = sa.BigInteger().with_variant(sa.Integer, "sqlite")

models = sa.Table(
    "models",
    metadata,
    sa.Column("model_id", _Id, primary_key=True),
    sa.Column("model", _Id, nullable=False),
    sa.Column("champion", sa.Integer),
    sa.Column("champion_at", _Time),
)
# Counts lie apart from their model and from each other, so that consumers do not wait for a row.
seen = sa.Table(
    "seen",
    metadata,
    sa.Column("model_id", _Id, primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("missed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("dropped", sa.BigInteger, nullable=False, server_default="0"),
)
kept = sa.Table(
    "kept",
    metadata,
    sa.Column("model_id", _Id, primary_key=True),
    sa.Column("captured", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("labelled", sa.BigInteger, nullable=False, server_default="0"),
)
arrivals = sa.Table(
    "arrivals",
    metadata,
    sa.Column("model_id", _Id, primary_key=True),
    sa.Column("replica", _Id, primary_key=True),
    sa.Column("epoch", _Id, primary_key=True),
    sa.Column("next", sa.BigInteger, nullable=False),
    sa.Column("dropped", sa.BigInteger, nullable=False),
    sa.Column("heard_at", _Time, nullable=False),
    sa.Column("ended", sa.Boolean, nullable=False),
)
versions = sa.Table(
    "versions",
    metadata,
    sa.Column("model_id", _Id, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("model", _Id, nullable=False),
    sa.Column("pipeline", _Id),
    sa.Column("training", _Id),
    sa.Column("target", _Id),
    sa.Column("inputs", sa.JSON),
    sa.Column("policy", sa.JSON, nullable=False),
    sa.Column("classes", sa.JSON),
    sa.Column("profile_state", sa.String(16), nullable=False),
    sa.Column("profile_why", sa.Text, nullable=False),
    sa.Column("profile", _Id),
)
profiles = sa.Table(
    "profiles",
    metadata,
    sa.Column("digest", _Id, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)
detectors = sa.Table(
    "detectors",
    metadata,
    sa.Column("model_id", _Id, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("stream", sa.String(16), primary_key=True),
    sa.Column("profile", _Id, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
)
losses = sa.Table(
    "losses",
    metadata,
    sa.Column("model_id", _Id, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
)
first_rows = sa.Table(
    "first_rows",
    metadata,
    sa.Column("position", _Position, primary_key=True, autoincrement=True),
    sa.Column("model_id", _Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("stream", sa.String(16), nullable=False),
    sa.Column("start", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Index("first_rows_stream", "model_id", "version", "stream"),
)
episodes = sa.Table(
    "episodes",
    metadata,
    sa.Column("position", _Position, primary_key=True, autoincrement=True),
    sa.Column("id", _Id, nullable=False, unique=True),
    sa.Column("model_id", _Id, nullable=False),
    sa.Column("model", _Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("opened_at", _Time, nullable=False),
    sa.Column("cause", sa.JSON, nullable=False),
    sa.Column("features", sa.JSON, nullable=False),
    sa.Column("since_row", sa.BigInteger, nullable=False),
    sa.Column("since_time", _Time),
    sa.Column("rows_seen", sa.BigInteger, nullable=False),
    sa.Column("asks", sa.Integer, nullable=False, server_default="0"),
    sa.Column("closed_at", _Time),
    sa.Column("closed_why", sa.Text),
    sa.Index("episodes_open", "model_id", "closed_at"),
)
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("position", _Position, primary_key=True, autoincrement=True),
    sa.Column("model_id", _Id, nullable=False),
    sa.Column("pipeline", _Id, nullable=False),
    sa.Column("episode", _Id, nullable=False),
    sa.Column("event", _Id, nullable=False),
    sa.Column("chain_id", _Id, nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("at", _Time, nullable=False),
    sa.Column("captured", sa.BigInteger, nullable=False),
    sa.Column("ended_at", _Time),
    sa.Column("ended_why", sa.Text),
    sa.Index("requests_model", "model_id", "position"),
)
outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("model_id", _Id, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("why", sa.Text, nullable=False),
)
decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("position", _Position, primary_key=True, autoincrement=True),
    sa.Column("model_id", _Id, nullable=False),
    sa.Column("model", _Id, nullable=False),
    sa.Column("episode", _Id, nullable=False),
    sa.Column("at", _Time, nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Index("decisions_episode", "episode", "position"),
)
captures = sa.Table(
    "captures",
    metadata,
    sa.Column("position", _Position, primary_key=True, autoincrement=True),
    sa.Column("model_id", _Id, nullable=False),
    sa.Column("digest", _Id, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("first", _Time, nullable=False),
    sa.Column("last", _Time, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("merged", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("captures_model", "model_id", "merged", "position"),
)
labels = sa.Table(
    "labels",
    metadata,
    sa.Column("position", _Position, primary_key=True, autoincrement=True),
    sa.Column("model_id", _Id, nullable=False),
    sa.Column("id", _Id, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("label", sa.Text),
    sa.Column("at", _Time, nullable=False),
    sa.Column("joined", sa.Boolean, nullable=False),
    sa.Column("filed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("labels_waiting", "joined", "kind", "id"),
    sa.Index("labels_unfiled", "model_id", "filed", "position"),
)
label_files = sa.Table(
    "label_files",
    metadata,
    sa.Column("position", _Position, primary_key=True, autoincrement=True),
    sa.Column("model_id", _Id, nullable=False),
    sa.Column("digest", _Id, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
)
manifests = sa.Table(
    "manifests",
    metadata,
    sa.Column("position", _Position, primary_key=True, autoincrement=True),
    sa.Column("model_id", _Id, nullable=False),
    sa.Column("digest", _Id, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("labelled", sa.BigInteger, nullable=False),
    sa.Column("at", _Time, nullable=False),
    sa.Column("trained", sa.Boolean, nullable=False),
    sa.Index("manifests_model", "model_id", "position"),
)
scores = sa.Table(
    "scores",
    metadata,
    sa.Column("prediction_id", _Id, primary_key=True),
    sa.Column("request_id", _Id),
    sa.Column("model_id", _Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("time", _Time, nullable=False),
    sa.Column("score", sa.Float),
    sa.Column("predicted", sa.Text),
    sa.Column("task", sa.String(16), nullable=False),
    sa.Column("label", sa.Text),
    sa.Column("label_at", _Time),
    sa.Index("scores_request", "model_id", "request_id"),
    sa.Index("scores_time", "time"),
    sa.Index("scores_version", "model_id", "version", "time"),
)
canary_labels = sa.Table(
    "canary_labels",
    metadata,
    sa.Column("deployment_id", _Id, primary_key=True),
    sa.Column("environment", _Id, nullable=False),
    sa.Column("model_id", _Id, nullable=False),
    sa.Column("model", _Id, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("previous", sa.Integer, nullable=False),
    sa.Column("periods", sa.JSON, nullable=False),
    sa.Column("until", _Time, nullable=False),
    sa.Column("cause", sa.JSON, nullable=False),
    sa.Column("wrong_above", sa.Float),
    sa.Column("marks", sa.BigInteger, nullable=False),
    sa.Column("counted", sa.BigInteger, nullable=False),
    sa.Index("canary_labels_model", "model_id"),
)
performance = sa.Table(
    "performance",
    metadata,
    sa.Column("model_id", _Id, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("task", sa.String(16), nullable=False),
    sa.Column("labelled", sa.BigInteger, nullable=False),
    sa.Column("loss_sum", sa.Float, nullable=False),
    sa.Column("brier_sum", sa.Float, nullable=False),
    sa.Column("label_sum", sa.Float, nullable=False),
    sa.Column("score_sum", sa.Float, nullable=False),
)
