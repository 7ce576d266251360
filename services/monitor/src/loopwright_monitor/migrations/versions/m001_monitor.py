"""Versions, detectors, episodes, captured rows, labels and what was decided."""

import sqlalchemy as sa
from alembic import op

revision = "m001"
down_revision = None
branch_labels = None
depends_on = None
_ID = sa.String(255)
_TIME = sa.DateTime(timezone=True)
_POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "arrivals",
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("replica", _ID, nullable=False),
        sa.Column("epoch", _ID, nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("heard_at", _TIME, nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "replica", "epoch"),
    )
    op.create_table(
        "captures",
        sa.Column("position", _POSITION, autoincrement=True, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("digest", _ID, nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("first", _TIME, nullable=False),
        sa.Column("last", _TIME, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("merged", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("captures_model", "captures", ["model_id", "merged", "position"])
    op.create_table(
        "decisions",
        sa.Column("position", _POSITION, autoincrement=True, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("model", _ID, nullable=False),
        sa.Column("episode", _ID, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("decisions_episode", "decisions", ["episode", "position"])
    op.create_table(
        "detectors",
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("stream", sa.String(length=16), nullable=False),
        sa.Column("profile", _ID, nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "version", "stream"),
    )
    op.create_table(
        "episodes",
        sa.Column("position", _POSITION, autoincrement=True, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("model", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("cause", sa.JSON(), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("since_row", sa.BigInteger(), nullable=False),
        sa.Column("since_time", _TIME, nullable=True),
        sa.Column("rows_seen", sa.BigInteger(), nullable=False),
        sa.Column("asks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("closed_at", _TIME, nullable=True),
        sa.Column("closed_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("episodes_open", "episodes", ["model_id", "closed_at"])
    op.create_table(
        "first_rows",
        sa.Column("position", _POSITION, autoincrement=True, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("stream", sa.String(length=16), nullable=False),
        sa.Column("start", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("first_rows_stream", "first_rows", ["model_id", "version", "stream"])
    op.create_table(
        "kept",
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("captured", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("labelled", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("model_id"),
    )
    op.create_table(
        "label_files",
        sa.Column("position", _POSITION, autoincrement=True, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("digest", _ID, nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_table(
        "labels",
        sa.Column("position", _POSITION, autoincrement=True, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("joined", sa.Boolean(), nullable=False),
        sa.Column("filed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("labels_unfiled", "labels", ["model_id", "filed", "position"])
    op.create_index("labels_waiting", "labels", ["joined", "kind", "id"])
    op.create_table(
        "losses",
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "version"),
    )
    op.create_table(
        "manifests",
        sa.Column("position", _POSITION, autoincrement=True, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("digest", _ID, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("labelled", sa.BigInteger(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("trained", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("manifests_model", "manifests", ["model_id", "position"])
    op.create_table(
        "models",
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("model", _ID, nullable=False),
        sa.Column("champion", sa.Integer(), nullable=True),
        sa.Column("champion_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("model_id"),
    )
    op.create_table(
        "outcomes",
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "version"),
    )
    op.create_table(
        "performance",
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=16), nullable=False),
        sa.Column("labelled", sa.BigInteger(), nullable=False),
        sa.Column("loss_sum", sa.Float(), nullable=False),
        sa.Column("brier_sum", sa.Float(), nullable=False),
        sa.Column("label_sum", sa.Float(), nullable=False),
        sa.Column("score_sum", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "version"),
    )
    op.create_table(
        "profiles",
        sa.Column("digest", _ID, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "requests",
        sa.Column("position", _POSITION, autoincrement=True, nullable=False),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("pipeline", _ID, nullable=False),
        sa.Column("episode", _ID, nullable=False),
        sa.Column("event", _ID, nullable=False),
        sa.Column("chain_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("ended_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("requests_model", "requests", ["model_id", "position"])
    op.create_table(
        "scores",
        sa.Column("prediction_id", _ID, nullable=False),
        sa.Column("request_id", _ID, nullable=True),
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("predicted", sa.Text(), nullable=True),
        sa.Column("task", sa.String(length=16), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("label_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("prediction_id"),
    )
    op.create_index("scores_request", "scores", ["model_id", "request_id"])
    op.create_index("scores_time", "scores", ["time"])
    op.create_table(
        "seen",
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("missed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("dropped", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("model_id"),
    )
    op.create_table(
        "versions",
        sa.Column("model_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("model", _ID, nullable=False),
        sa.Column("pipeline", _ID, nullable=True),
        sa.Column("training", _ID, nullable=True),
        sa.Column("target", _ID, nullable=True),
        sa.Column("inputs", sa.JSON(), nullable=True),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=True),
        sa.Column("profile_state", sa.String(length=16), nullable=False),
        sa.Column("profile_why", sa.Text(), nullable=False),
        sa.Column("profile", _ID, nullable=True),
        sa.PrimaryKeyConstraint("model_id", "version"),
    )


def downgrade() -> None:
    for name in (
        "arrivals",
        "captures",
        "decisions",
        "detectors",
        "episodes",
        "first_rows",
        "kept",
        "label_files",
        "labels",
        "losses",
        "manifests",
        "models",
        "outcomes",
        "performance",
        "profiles",
        "requests",
        "scores",
        "seen",
        "versions",
    ):
        op.drop_table(name)
