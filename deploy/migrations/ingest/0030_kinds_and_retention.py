"""Counts per kind of event, and a retention per source that an admin can change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0010"
branch_labels = None
depends_on = None

COUNT_WHAT_CAME = """
    INSERT INTO kinds (source, endpoint, kind, count, last_at)
    SELECT source, endpoint, type, count(*), max(received_at) FROM accepted
    WHERE sent_at IS NOT NULL GROUP BY source, endpoint, type
"""
NAME_SOURCES_OF_BODIES = """
    UPDATE raw_files SET source =
    (SELECT min(source) FROM deliveries WHERE deliveries.raw_sha256 = raw_files.sha256)
"""


def upgrade() -> None:
    op.create_table(
        "kinds",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("source", "endpoint", "kind"),
    )
    op.create_table(
        "retention",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source"),
    )
    op.add_column("raw_files", sa.Column("source", sa.String(), nullable=True))
    op.execute(COUNT_WHAT_CAME)
    op.execute(NAME_SOURCES_OF_BODIES)
