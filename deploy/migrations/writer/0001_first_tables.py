"""The first tables of writer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "assists",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("proposal_id", sa.String(), nullable=True),
        sa.Column("event_id", sa.String(), nullable=True),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("asked_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_assists_event_id"), "assists", ["event_id"], unique=False)
    op.create_index(op.f("ix_assists_proposal_id"), "assists", ["proposal_id"], unique=False)
    op.create_table(
        "card_views",
        sa.Column("proposal_id", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("card_digest", sa.String(), nullable=False),
        sa.Column("opened_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("proposal_id", "person", "card_digest"),
    )
    op.create_table(
        "change_fields",
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.String(), nullable=True),
        sa.Column("applied_at", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("change_id", "field"),
    )
    op.create_index("change_fields_by_record", "change_fields", ["record", "field"], unique=False)
    op.create_index(
        "change_fields_by_time", "change_fields", ["object", "field", "sent_at"], unique=False
    )
    op.create_table(
        "changes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("proposal_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("card_digest", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("held", sa.String(), nullable=True),
        sa.Column("receipt", sa.Text(), nullable=True),
        sa.Column("receipt_seq", sa.Integer(), nullable=True),
        sa.Column("receipt_root", sa.String(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("rule", sa.String(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("intended_at", sa.String(), nullable=False),
        sa.Column("sent_at", sa.String(), nullable=True),
        sa.Column("updated_at", sa.String(), nullable=False),
        sa.Column("finished_at", sa.String(), nullable=True),
        sa.Column("grant_id", sa.String(), nullable=True),
        sa.Column("undone_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("changes_by_state", "changes", ["state", "updated_at"], unique=False)
    op.create_index(op.f("ix_changes_event_id"), "changes", ["event_id"], unique=False)
    op.create_index(op.f("ix_changes_proposal_id"), "changes", ["proposal_id"], unique=False)
    op.create_index(op.f("ix_changes_record"), "changes", ["record"], unique=False)
    op.create_table(
        "classifications",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("received_at", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index(
        op.f("ix_classifications_outcome"), "classifications", ["outcome"], unique=False
    )
    op.create_index(op.f("ix_classifications_record"), "classifications", ["record"], unique=False)
    op.create_table(
        "corrections",
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=True),
        sa.Column("noticed_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("change_id", "field", "event_id"),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("proposal_id", sa.String(), nullable=False),
        sa.Column("approver", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("card_digest", sa.String(), nullable=False),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("decided_at", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("nonce"),
        sa.UniqueConstraint("proposal_id", "approver", "card_digest", "look"),
    )
    op.create_index("decisions_by_approver", "decisions", ["approver", "decided_at"], unique=False)
    op.create_index(op.f("ix_decisions_proposal_id"), "decisions", ["proposal_id"], unique=False)
    op.create_table(
        "drafts",
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("draft", sa.String(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("decided_at", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("change_id"),
        sa.UniqueConstraint("draft"),
    )
    op.create_index("drafts_by_state", "drafts", ["state", "created_at"], unique=False)
    op.create_table(
        "grants",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("crm", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("prompt_version", sa.String(), nullable=False),
        sa.Column("expires_at", sa.String(), nullable=False),
        sa.Column("revoked_at", sa.String(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "inbox",
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("handled_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("message_id"),
    )
    op.create_index(op.f("ix_inbox_handled_at"), "inbox", ["handled_at"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("until", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "outbox",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("chain", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("sent_at", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("message_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_outbox_chain"), "outbox", ["chain"], unique=False)
    op.create_index(op.f("ix_outbox_sent_at"), "outbox", ["sent_at"], unique=False)
    op.create_table(
        "pending_fields",
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("proposal_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("slot", "field"),
    )
    op.create_index(
        op.f("ix_pending_fields_proposal_id"), "pending_fields", ["proposal_id"], unique=False
    )
    op.create_table(
        "policy_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("since", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "policy_versions",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("added_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_table(
        "proposal_fields",
        sa.Column("proposal_id", sa.String(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("proposal_id", "field"),
    )
    op.create_index(
        "proposal_fields_by_field", "proposal_fields", ["field", "created_at"], unique=False
    )
    op.create_index(
        "proposal_fields_by_record", "proposal_fields", ["record", "field"], unique=False
    )
    op.create_table(
        "proposals",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("maker", sa.String(), nullable=False),
        sa.Column("prompt_version", sa.String(), nullable=False),
        sa.Column("risk", sa.String(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("event_at", sa.String(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("expires_at", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("follows", sa.String(), nullable=True),
        sa.Column("undoes", sa.String(), nullable=True),
        sa.Column("superseded_by", sa.String(), nullable=True),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("decided_at", sa.String(), nullable=True),
        sa.Column("refused_rule", sa.String(), nullable=True),
        sa.Column("refused_detail", sa.Text(), nullable=True),
        sa.Column("assignee", sa.String(), nullable=True),
        sa.Column("claimed_by", sa.String(), nullable=True),
        sa.Column("claimed_until", sa.String(), nullable=True),
        sa.Column("snoozed_until", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_proposals_event_id"), "proposals", ["event_id"], unique=False)
    op.create_index(op.f("ix_proposals_follows"), "proposals", ["follows"], unique=False)
    op.create_index(op.f("ix_proposals_record"), "proposals", ["record"], unique=False)
    op.create_index(op.f("ix_proposals_undoes"), "proposals", ["undoes"], unique=False)
    op.create_index("proposals_by_state", "proposals", ["state", "created_at"], unique=False)
    op.create_table(
        "record_locks",
        sa.Column("record", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("until", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("record"),
    )
    op.create_table(
        "stop_intervals",
        sa.Column("since", sa.String(), nullable=False),
        sa.Column("until", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("since"),
    )
    op.create_table(
        "stop_switch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stopped", sa.Boolean(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "worklist",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("urgency", sa.String(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("assignee", sa.String(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("done_by", sa.String(), nullable=True),
        sa.Column("done_at", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("worklist_by_state", "worklist", ["state", "created_at"], unique=False)
