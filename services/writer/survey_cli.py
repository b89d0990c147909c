"""`countersign survey`: what the records of a CRM hold, and which field to open next."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any, Final

import click

from services.writer import survey_views, surveying, surveys
from services.writer.service import WorkerSettings, connectors
from services.writer.survey_views import ObjectView, SurveyView
from shared.crm.accounts import accounts_of
from shared.crm.reader import MOST_SAMPLED
from shared.db import open_database, reading, writing
from shared.domain.schema import now, rfc3339
from shared.policy import load_policy
from shared.settings import load_settings

# Nobody waits for a page here: a list of many fields takes a CRM its time.
TIMEOUT: Final = 30.0
COLOURS: Final = {"listed": "green", "closed": "bright_black"}


@click.command()
@click.argument("crm")
@click.option(
    "--limit",
    type=click.IntRange(1, MOST_SAMPLED),
    default=MOST_SAMPLED,
    show_default=True,
    help="Records of each object type.",
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.pass_obj
def survey(home: Any, crm: str, limit: int, *, as_json: bool) -> None:
    """Sample the records of CRM, read-only, and say which field could be opened next.

    Counts how many records have a value in each field; no value is kept or shown. The report
    replaces the last one on the page Status → CRMs. The policy stays as it is: what is suggested
    counts once you have written it there.
    """
    settings = load_settings(WorkerSettings, home.environment("writer", "worker"))
    engine = open_database(settings.database_url)
    found = connectors(settings, engine, timeout=TIMEOUT)
    if crm not in found.vendors:
        known = ", ".join(sorted(found.vendors))
        raise click.ClickException(f"there is no CRM account {crm}; there are {known}")
    for account in accounts_of(settings.crms_read):
        if account.name == crm and account.sandbox_of:
            raise click.ClickException(f"{crm} is a test account: sample {account.sandbox_of}")
    reader = found.readers[crm]
    with click.progressbar(reader.object_types, label="Sampling", file=sys.stderr) as types:
        made = surveying.survey(crm, found.vendors[crm], reader, now(), types=types, limit=limit)
    with writing(engine) as db:
        surveys.keep(db, made)
    with reading(engine) as db:
        policy = load_policy(settings.policy_file)
        view = survey_views.view(db, crm, policy, found.sandboxes)
    assert view is not None, "it was just kept"
    if as_json:
        click.echo(json.dumps(asdict(view), ensure_ascii=False, indent=2, default=rfc3339))
        return
    for one in view.objects:
        _print_object(one)
    _print_steps(view)


def _print_object(one: ObjectView) -> None:
    click.secho(f"\n{one.name}: {one.sampled} sampled", bold=True)
    if one.problem:
        click.secho(f"  not sampled: {one.problem}", fg="yellow")
    for row in one.rows:
        line = f"  {row.filled:>8}  {row.label[:32]:<32} {row.type:<10} {row.words}"
        click.secho(line, fg=COLOURS.get(row.state))


def _print_steps(view: SurveyView) -> None:
    for tried in view.tried:
        click.echo(
            f"\n{tried.object}.{tried.field} at stage {tried.stage}: {tried.record.decided} of"
            f" {tried.enough} decided, {tried.record.unedited} accepted as proposed,"
            f" {tried.record.failed} failed"
        )
    click.secho("\nWhat to open next, one at a time", bold=True)
    if not view.suggestions:
        click.echo("Nothing for now.")
        return
    for step in view.suggestions:
        click.echo(f"\n{step.label} ({step.object}) → {step.stage}: {step.reason}\n{step.toml}")
    click.echo("Write one into policy.toml (or where it says), then: countersign policy check")
