"""Runs the migrations of one service on the connection that was handed in."""

from __future__ import annotations

from alembic import context

options = context.config.attributes
context.configure(connection=options["connection"], target_metadata=options.get("metadata"))
context.run_migrations()
