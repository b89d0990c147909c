"""When a promotion was tried, and why the CRM refused it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("drafts", sa.Column("tried_at", sa.String(), nullable=True))
    op.add_column("drafts", sa.Column("refused", sa.Text(), nullable=True))
