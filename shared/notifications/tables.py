"""The tables beside a service's own: its alarms, and what was told to whom."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Float, Integer, MetaData, String, Table, Text


@dataclass(frozen=True, kw_only=True)
class NoticeTables:
    """``alarms``, ``channels`` and ``notices`` of one service."""

    alarms: Table
    channels: Table
    notices: Table


def notice_tables(metadata: MetaData) -> NoticeTables:
    """The three tables, declared in the metadata of a service."""
    return NoticeTables(
        alarms=_alarms(metadata), channels=_channels(metadata), notices=_notices(metadata)
    )


def _alarms(metadata: MetaData) -> Table:
    """One row per rule and labels. ``told_at`` names the last episode that people heard of."""
    return Table(
        "alarms",
        metadata,
        Column("name", String, primary_key=True),
        Column("labels", String, primary_key=True),
        Column("state", String, nullable=False),  # pending, on or over
        Column("value", Float, nullable=False),
        Column("since", String, nullable=False),
        Column("raised_at", String),
        Column("over_at", String),
        Column("told_at", String),
        Column("is_told", Integer, nullable=False),
    )


def _channels(metadata: MetaData) -> Table:
    """A channel hears what happens after ``since``; ``seen`` is how far it has read a log."""
    return Table(
        "notice_channels",
        metadata,
        Column("name", String, primary_key=True),
        Column("since", String, nullable=False),
        Column("seen", BigInteger),
        Column("sent_at", String),
        Column("failed_at", String),
        Column("error", Text),
    )


def _notices(metadata: MetaData) -> Table:
    """The key holds that each channel is told each thing once. No personal data in the text."""
    return Table(
        "notices",
        metadata,
        Column("channel", String, primary_key=True),
        Column("kind", String, primary_key=True),
        Column("subject", String, primary_key=True),
        Column("state", String, nullable=False, index=True),  # open, sent or dropped
        Column("title", Text, nullable=False),
        Column("text", Text, nullable=False),
        Column("path", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("at", String, nullable=False, index=True),  # of the state; failed: of the next try
    )
