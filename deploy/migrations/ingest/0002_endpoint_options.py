"""The options that an endpoint had when a request came, for those that read its bytes later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("options", sa.Text(), nullable=True))
