"""Changes that are tried in a sandbox, the records that stand in there, and what is promoted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stand_ins",
        sa.Column("record", sa.String(), primary_key=True),
        sa.Column("account", sa.String(), primary_key=True),
        sa.Column("stand_in", sa.String(), nullable=False),
        sa.Column("known_at", sa.String(), nullable=False),
    )
    op.add_column("changes", sa.Column("tried_in", sa.String(), nullable=True))
    op.add_column("proposals", sa.Column("promotes", sa.String(), nullable=True))
    op.create_index(op.f("ix_proposals_promotes"), "proposals", ["promotes"], unique=False)
