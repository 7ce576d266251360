"""Text columns that compare and sort alike on every database: by bytes, as SQLite does."""

import sqlalchemy as sa


def text(longest: int | None = None) -> sa.String:
    """A column of at most `longest` characters, which PostgreSQL enforces and SQLite does not."""
    kind = sa.String if longest else sa.Text
    return kind(longest).with_variant(kind(longest, collation="C"), "postgresql")
