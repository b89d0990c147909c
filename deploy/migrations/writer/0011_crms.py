"""Drafts of new people in a space of our own, and what was found about each CRM account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "own_drafts",
        sa.Column("change_id", sa.String(), primary_key=True),
        sa.Column("crm", sa.String(), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("closed_by", sa.String(), nullable=True),
        sa.Column("record", sa.String(), nullable=True),
    )
    op.create_index(op.f("ix_own_drafts_closed_by"), "own_drafts", ["closed_by"], unique=False)
    op.create_index(
        "own_drafts_by_state", "own_drafts", ["crm", "state", "created_at"], unique=False
    )
    op.create_table(
        "crm_reports",
        sa.Column("crm", sa.String(), primary_key=True),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
    )
