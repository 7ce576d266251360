"""Tables that every service's database has for delivery; migrations `d...` make them.

Outbox columns follow Debezium's outbox router, so that change data capture can replace the relay.
"""

import sqlalchemy as sa

from loopwright_common.database.dialect import UtcDateTime

metadata = sa.MetaData()
BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("position", BigId, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("aggregatetype", sa.String(255), nullable=False),
    sa.Column("aggregateid", sa.String(255), nullable=False),
    sa.Column("type", sa.String(255), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("headers", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("published_at", UtcDateTime),
    sa.Index(
        "outbox_unpublished",
        "position",
        sqlite_where=sa.text("published_at IS NULL"),
        postgresql_where=sa.text("published_at IS NULL"),
    ),
)
inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("consumer", sa.String(255), primary_key=True),
    sa.Column("event_id", sa.String(255), primary_key=True),
    sa.Column("handled_at", UtcDateTime, nullable=False),
    # A rebuild handles events again, under a new generation; `first` says in which one they spoke.
    sa.Column("generation", sa.Integer, nullable=False, default=0),
    sa.Column("first", sa.Integer, nullable=False, default=0),
)
positions = sa.Table(
    "positions",
    metadata,
    sa.Column("consumer", sa.String(255), primary_key=True),
    sa.Column("topic", sa.String(255), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.String(64), nullable=False, default=""),
    sa.Column("generation", sa.Integer, nullable=False, default=0),
    sa.Column("handled_at", UtcDateTime),
)
parked = sa.Table(
    "parked",
    metadata,
    sa.Column("position", BigId, primary_key=True, autoincrement=True),
    sa.Column("consumer", sa.String(255), nullable=False),
    sa.Column("topic", sa.String(255), nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("key", sa.String(255), nullable=False),
    sa.Column("headers", sa.JSON, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    # Only the first of a key is due; the others wait for it, so that finding what is due is cheap.
    sa.Column("due_at", UtcDateTime),
    sa.Column("first_failed_at", UtcDateTime, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Index("parked_key", "consumer", "topic", "key", "position"),
    sa.Index("parked_due", "consumer", "due_at"),
)
dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("consumer", sa.String(255), nullable=False),
    sa.Column("topic", sa.String(255), nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("key", sa.String(255), nullable=False),
    sa.Column("headers", sa.JSON, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("code_version", sa.String(64), nullable=False),
    sa.Column("first_failed_at", UtcDateTime, nullable=False),
    sa.Column("failed_at", UtcDateTime, nullable=False),
    # `dead`, `replayed` or `discarded`; who decided that, when and why.
    sa.Column("state", sa.String(16), nullable=False, default="dead"),
    sa.Column("burials", sa.Integer, nullable=False, default=1),
    sa.Column("decided_at", UtcDateTime),
    sa.Column("decided_by", sa.String(255)),
    sa.Column("reason", sa.Text),
    sa.Index("dead_letters_listed", "state", "failed_at", "id"),
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("holder", sa.String(255), nullable=False),
    sa.Column("until", UtcDateTime, nullable=False),
)
