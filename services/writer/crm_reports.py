"""What was found about each CRM account the last time it was examined."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, select

from services.writer.tables import crm_reports
from shared.crm.metadata import Capabilities
from shared.db import upsert
from shared.domain.schema import parse_instant, rfc3339

_TYPES = ("notes", "tasks")


class Level(StrEnum):
    """``BAD`` keeps every field of the CRM from being written; ``TODO`` only the admin can see."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"
    TODO = "todo"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found, in words."""

    level: Level
    text: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """One examination of one CRM account; ``sandbox_of`` is the one that it stands in for."""

    crm: str
    vendor: str
    at: datetime
    capabilities: Capabilities
    findings: tuple[Finding, ...]
    sandbox_of: str | None = None

    @property
    def problem(self) -> str | None:
        """Why nothing is written to this CRM, if so."""
        bad = [finding.text for finding in self.findings if finding.level is Level.BAD]
        return "; ".join(bad) or None


@dataclass(frozen=True, kw_only=True)
class CrmsView:
    """What was found about every CRM account."""

    rows: tuple[Report, ...]


def keep(db: Connection, report: Report) -> None:
    body = {
        "vendor": report.vendor,
        "sandbox_of": report.sandbox_of,
        "capabilities": asdict(report.capabilities),
        "findings": [{"level": str(one.level), "text": one.text} for one in report.findings],
    }
    row = {
        "crm": report.crm,
        "at": rfc3339(report.at),
        "problem": report.problem,
        "body": json.dumps(body, ensure_ascii=False),
    }
    upsert(db, crm_reports, row, key=["crm"])


def forget_others(db: Connection, known: Iterable[str]) -> None:
    """Drop the reports of all CRMs but these."""
    db.execute(delete(crm_reports).where(crm_reports.c.crm.not_in(tuple(known))))


def reports(db: Connection) -> tuple[Report, ...]:
    """The last report of every CRM, by name."""
    return tuple(
        _report(row) for row in db.execute(select(crm_reports).order_by(crm_reports.c.crm))
    )


def problem_of(db: Connection, crm: str) -> str | None:
    """Why nothing may be written to this CRM, by its last report."""
    query = select(crm_reports.c.problem).where(crm_reports.c.crm == crm)
    found: str | None = db.scalar(query)
    return found


def _capabilities(body: Mapping[str, Any]) -> Capabilities:
    """A report of before may not name the types yet: until the next one there are none."""
    types = {one: tuple(said) if isinstance(said := body.get(one), list) else () for one in _TYPES}
    return Capabilities(**{**body, **types})


def _report(row: Any) -> Report:
    body = json.loads(row.body)
    return Report(
        crm=row.crm,
        vendor=body["vendor"],
        at=parse_instant(row.at),
        sandbox_of=body.get("sandbox_of"),
        capabilities=_capabilities(body["capabilities"]),
        findings=tuple(
            Finding(level=Level(one["level"]), text=one["text"]) for one in body["findings"]
        ),
    )
