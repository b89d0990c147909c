"""Which record a person asked about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("assists", sa.Column("record", sa.String(), nullable=True))
    op.create_index(op.f("ix_assists_person"), "assists", ["person", "asked_at"], unique=False)
