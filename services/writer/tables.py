"""The tables of the writer: what waits, what was decided, what was written, and who may go on."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from shared.lease import lease_table
from shared.notifications.tables import notice_tables
from shared.outbox import Outbox

metadata = MetaData()
outbox = Outbox(metadata, "writer")
leases = lease_table(metadata)
notice = notice_tables(metadata)

_ID = String()
_AT = String()

proposals = Table(
    "proposals",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("event_id", _ID, nullable=False, index=True),
    Column("record", _ID, nullable=False, index=True),
    Column("slot", String, nullable=False),
    Column("state", String, nullable=False),
    Column("title", Text, nullable=False),
    Column("source", String, nullable=False),
    Column("maker", String, nullable=False),
    Column("prompt_version", String, nullable=False),
    Column("risk", String, nullable=False),
    Column("round", Integer, nullable=False),
    Column("event_at", _AT, nullable=False),
    Column("created_at", _AT, nullable=False),
    Column("expires_at", _AT, nullable=False),
    Column("digest", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("follows", _ID, index=True),
    Column("undoes", _ID, index=True),
    Column("promotes", _ID, index=True),
    Column("superseded_by", _ID),
    Column("decided_by", _ID),
    Column("decided_at", _AT),
    Column("refused_rule", String),
    Column("refused_detail", Text),
    Column("assignee", _ID),
    Column("claimed_by", _ID),
    Column("claimed_until", _AT),
    Column("snoozed_until", _AT),
    Index("proposals_by_state", "state", "created_at"),
)

# One pending proposal per record and field: the primary key holds it.
pending_fields = Table(
    "pending_fields",
    metadata,
    Column("slot", String, primary_key=True),
    Column("field", _ID, primary_key=True),
    Column("proposal_id", _ID, nullable=False, index=True),
)

proposal_fields = Table(
    "proposal_fields",
    metadata,
    Column("proposal_id", _ID, primary_key=True),
    Column("field", _ID, primary_key=True),
    Column("record", _ID, nullable=False),
    Column("verdict", String),
    Column("created_at", _AT, nullable=False),
    Index("proposal_fields_by_record", "record", "field"),
    Index("proposal_fields_by_field", "field", "created_at"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("proposal_id", _ID, nullable=False, index=True),
    Column("approver", _ID, nullable=False),
    Column("verdict", String, nullable=False),
    Column("card_digest", String, nullable=False),
    Column("policy", String, nullable=False),
    Column("look", Integer, nullable=False),
    Column("nonce", _ID, nullable=False, unique=True),
    Column("decided_at", _AT, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("proposal_id", "approver", "card_digest", "look"),
    Index("decisions_by_approver", "approver", "decided_at"),
)

changes = Table(
    "changes",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("proposal_id", _ID, nullable=False, index=True),
    Column("event_id", _ID, nullable=False, index=True),
    Column("record", _ID, nullable=False, index=True),
    Column("state", String, nullable=False),
    Column("card_digest", String, nullable=False),
    Column("policy", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("held", String),
    Column("receipt", Text),
    Column("receipt_seq", Integer),
    Column("receipt_root", String),
    Column("result", Text),
    Column("rule", String),
    Column("detail", Text),
    Column("intended_at", _AT, nullable=False),
    Column("sent_at", _AT),
    Column("updated_at", _AT, nullable=False),
    Column("finished_at", _AT),
    Column("grant_id", _ID),
    Column("undone_by", _ID),
    # The sandbox account of a trial; empty where the live record is written.
    Column("tried_in", _ID),
    Index("changes_by_state", "state", "updated_at"),
)

change_fields = Table(
    "change_fields",
    metadata,
    Column("change_id", _ID, primary_key=True),
    Column("field", _ID, primary_key=True),
    Column("record", _ID, nullable=False),
    Column("object", _ID, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("sent_at", _AT),
    Column("applied_at", _AT),
    Index("change_fields_by_record", "record", "field"),
    Index("change_fields_by_time", "object", "field", "sent_at"),
)

record_locks = Table(
    "record_locks",
    metadata,
    Column("record", _ID, primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("until", _AT, nullable=False),
)

classifications = Table(
    "classifications",
    metadata,
    Column("event_id", _ID, primary_key=True),
    Column("outcome", String, nullable=False, index=True),
    Column("source", String, nullable=False),
    Column("received_at", _AT, nullable=False),
    Column("record", _ID, index=True),
    Column("subject", Text),
    Column("sender", Text),
    Column("flags", Text, nullable=False),
    Column("body", Text, nullable=False),
)

worklist = Table(
    "worklist",
    metadata,
    Column("event_id", _ID, primary_key=True),
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("route", String, nullable=False),
    Column("urgency", String, nullable=False),
    Column("created_at", _AT, nullable=False),
    Column("assignee", _ID),
    Column("note", Text),
    Column("done_by", _ID),
    Column("done_at", _AT),
    Index("worklist_by_state", "state", "created_at"),
)

policy_versions = Table(
    "policy_versions",
    metadata,
    Column("hash", String, primary_key=True),
    Column("text", Text, nullable=False),
    Column("added_at", _AT, nullable=False),
)

# One row: the version in force, and why nothing is written while the file is wrong.
policy_state = Table(
    "policy_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hash", String, nullable=False),
    Column("problem", Text),
    Column("since", _AT, nullable=False),
)

# One row: checked in the very transaction that marks a change as sent.
stop_switch = Table(
    "stop_switch",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("stopped", Boolean, nullable=False),
    Column("person", _ID, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", _AT, nullable=False),
)

stop_intervals = Table(
    "stop_intervals",
    metadata,
    Column("since", _AT, primary_key=True),
    Column("until", _AT),
)

assists = Table(
    "assists",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("kind", String, nullable=False),
    Column("proposal_id", _ID, index=True),
    Column("event_id", _ID, index=True),
    Column("round", Integer, nullable=False),
    Column("note", Text),
    Column("person", _ID, nullable=False),
    Column("asked_at", _AT, nullable=False),
    Column("record", _ID),
    Index("ix_assists_person", "person", "asked_at"),
)

card_views = Table(
    "card_views",
    metadata,
    Column("proposal_id", _ID, primary_key=True),
    Column("person", _ID, primary_key=True),
    Column("card_digest", String, primary_key=True),
    Column("opened_at", _AT, nullable=False),
)

# A person's later correction in the CRM of a value that we wrote.
corrections = Table(
    "corrections",
    metadata,
    Column("change_id", _ID, primary_key=True),
    Column("field", _ID, primary_key=True),
    Column("event_id", _ID, primary_key=True),
    Column("value", Text, nullable=False),
    Column("changed_by", String),
    Column("noticed_at", _AT, nullable=False),
)

drafts = Table(
    "drafts",
    metadata,
    Column("change_id", _ID, primary_key=True),
    Column("draft", _ID, nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", _AT, nullable=False),
    Column("record", _ID),
    Column("reason", Text),
    Column("decided_by", _ID),
    Column("decided_at", _AT),
    Column("tried_at", _AT),
    Column("refused", Text),
    Index("drafts_by_state", "state", "created_at"),
)

# New people of the CRMs that have no space for drafts. ``closed_by`` is the act that ended one.
own_drafts = Table(
    "own_drafts",
    metadata,
    Column("change_id", _ID, primary_key=True),
    Column("crm", _ID, nullable=False),
    Column("fields", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", _AT, nullable=False),
    Column("closed_by", _ID, index=True),
    Column("record", _ID),
    Index("own_drafts_by_state", "crm", "state", "created_at"),
)

# New people handed over to a CRM without an API; the id is that of the act which promoted them.
hand_offs = Table(
    "hand_offs",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("crm", _ID, nullable=False),
    Column("way", String, nullable=False),
    Column("state", String, nullable=False),
    Column("begun_at", _AT, nullable=False),
    Column("settled_at", _AT),
    Column("settled_by", _ID),
)

# The record of a sandbox account that stands in for a live one when a change is tried.
stand_ins = Table(
    "stand_ins",
    metadata,
    Column("record", _ID, primary_key=True),
    Column("account", _ID, primary_key=True),
    Column("stand_in", _ID, nullable=False),
    Column("known_at", _AT, nullable=False),
)

# The last examination of each CRM account. ``problem``: why nothing is written to it.
crm_reports = Table(
    "crm_reports",
    metadata,
    Column("crm", _ID, primary_key=True),
    Column("at", _AT, nullable=False),
    Column("problem", Text),
    Column("body", Text, nullable=False),
)

# The last sample of each CRM account: counts, and no value of any record.
crm_surveys = Table(
    "crm_surveys",
    metadata,
    Column("crm", _ID, primary_key=True),
    Column("at", _AT, nullable=False),
    Column("body", Text, nullable=False),
)

# Reserved for writing first and verifying afterwards: signed, expiring, taken back at once.
grants = Table(
    "grants",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("crm", _ID, nullable=False),
    Column("object", _ID, nullable=False),
    Column("field", _ID, nullable=False),
    Column("prompt_version", String, nullable=False),
    Column("expires_at", _AT, nullable=False),
    Column("revoked_at", _AT),
    Column("body", Text, nullable=False),
)
