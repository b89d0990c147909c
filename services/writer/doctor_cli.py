"""`countersign doctor`: what the credentials of a CRM can really do."""

from __future__ import annotations

from typing import Any

import click

from services.writer.crm_reports import Level, Report
from services.writer.doctor import examine_account
from services.writer.policy_watch import unfit_stages
from services.writer.service import WorkerSettings, connectors
from shared.db import open_database
from shared.domain.schema import now
from shared.errors import CRMUnavailable
from shared.policy import load_policy
from shared.settings import load_settings

MARKS = {Level.OK: "✓", Level.NOTE: "·", Level.BAD: "✗", Level.TODO: "☐"}
COLOURS = {Level.OK: "green", Level.BAD: "red"}


@click.command()
@click.argument("crm", required=False)
@click.pass_obj
def doctor(home: Any, crm: str | None) -> None:
    """Examine the credentials of CRM, or of every CRM, against the policy.

    Asks the CRM what each credential may do and compares it with the policy: too much or too
    little is red, ends with exit code 1, and keeps that CRM's fields from being written. Then
    comes the checklist of what only you can see.
    """
    settings = load_settings(WorkerSettings, home.environment("writer", "worker"))
    found = connectors(settings, open_database(settings.database_url), timeout=10.0)
    if crm is not None and crm not in found.vendors:
        known = ", ".join(sorted(found.vendors))
        raise click.ClickException(f"there is no CRM account {crm}; there are {known}")
    policy = load_policy(settings.policy_file)
    is_well = True
    for problem in unfit_stages(policy, found):
        click.secho(f"✗ {problem}", fg="red")
        is_well = False
    for name, vendor in found.vendors.items():
        if crm in {None, name}:
            is_well = _shown(found, name, vendor, policy) and is_well
    raise SystemExit(0 if is_well else 1)


def _shown(found: Any, crm: str, vendor: str, policy: Any) -> bool:
    click.secho(f"{crm} ({vendor})", bold=True)
    try:
        report = examine_account(crm, found, policy, now())
    except CRMUnavailable as error:
        click.secho(f"  ✗ {error}", fg="red")
        return False
    _print(report)
    return report.problem is None


def _print(report: Report) -> None:
    for finding in report.findings:
        click.secho(f"  {MARKS[finding.level]} {finding.text}", fg=COLOURS.get(finding.level))
