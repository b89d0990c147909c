"""Which fields could be opened next, and which have proved themselves for their next stage.

Nothing is opened here: an admin writes it into ``policy.toml``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from services.writer.surveys import Survey, SurveyedField, SurveyedObject
from services.writer.track_record import TrackRecord
from shared.crm.rights import RIGHTS
from shared.domain.record import DRAFTS
from shared.errors import ConfigurationError
from shared.policy import CLOSED_CLASSES, FieldRule, Policy, Stage, load_policy
from shared.values import ValueType

MOST_SUGGESTED: Final = 3
# A field that is hardly used is not worth the risk.
LEAST_PERCENT: Final = 10
# What a field has to show at its stage before the next one.
ENOUGH_DECIDED: Final = 20
ENOUGH_UNEDITED: Final = 90
_MOST_CHOICES: Final = 30
_LENGTHS: Final = {"text": 200, "email": 254, "phone": 32}
_LISTED: Final = frozenset(ValueType)
# A switch often sets something going, and not every CRM keeps it as true or false.
_IN_WORDS: Final = {
    "text": "plain text",
    "enum": "a choice from a closed list",
    "date": "a date",
    "phone": "a phone number",
    "email": "an e-mail address",
}
# From what only describes a customer to what reaches and names them.
_CAUTION: Final = {"text": 1, "enum": 1, "date": 1, "phone": 4, "email": 5}
# Crews are sent there.
_PLACES_CAUTION: Final = 3
_PLACE: Final = re.compile(r"addr|street|city|zip|postal|province|state|country", re.IGNORECASE)
_IDENTITY: Final = re.compile(r"name$|^title$|subject|number|(^|_)id$", re.IGNORECASE)
# What no metadata marks and a name gives away: a person has to say what it is.
_DELICATE: Final = re.compile(
    r"pri[cz]e|cost|(\b|_)fees?(\b|_)|amount|budget|discount|rabatt|margin|salary|wage|revenue|turnover"
    r"|pay(ment|ing|able|roll|_|\b)|invoice|bill(ing)?(\b|_)|balance|credit|debit|tax|vat\b|iban|bank"
    r"|contract|renewal|commission|owner|assigned|consent|opt_?-?(in|out)|gdpr|unsubscri"
    r"|do_?\s?not|legal|password|secret|token|passport|ssn|social_?\s?security|birth|gender|health"
    r"|religion|ethnic",
    re.IGNORECASE,
)
_WHAT_FOLLOWS: Final = {
    Stage.SANDBOX: "Approved changes then go to the test account (sandbox_of) first.",
    Stage.LIVE: "Approved changes are then written; the CRM's credentials were found in order.",
}
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One step for one field: ``toml`` is what an admin would write for it.

    ``stage_now`` is ``None`` for a field that the policy does not list yet. Where both stages are
    the same, ``toml`` is the account without which there is no next one.
    """

    object: str
    field: str
    label: str
    stage_now: str | None
    stage: str
    reason: str
    toml: str


def why_not(field: SurveyedField) -> str | None:
    """Why no policy can list the field, in words; ``None``: it may be listed."""
    if field.read_only or field.field_class == "read_only":
        return "the CRM keeps it itself"
    if field.field_class in CLOSED_CLASSES:
        return f"{field.field_class}: closed for good"
    if field.type not in _LISTED:
        return f"no policy lists a {field.type}"
    if field.type == "enum" and not 0 < len(field.allowed_values or ()) <= _MOST_CHOICES:
        return "its choices are none, or too many"
    return None


def why_careful(field: SurveyedField) -> str | None:
    """Why a field that may be listed is not suggested, in words."""
    if _DELICATE.search(f"{field.name} {field.label}"):
        return "its name sounds like money, owner, consent or something private: look first"
    return None


def suggestions(
    survey: Survey,
    policy: Policy,
    records: Mapping[tuple[str, str], TrackRecord],
    *,
    is_content: bool,
    has_sandbox: bool,
) -> tuple[Suggestion, ...]:
    """At most `MOST_SUGGESTED`: proven fields first, then new ones in order of caution.

    ``is_content``: the last examination of the account found nothing that stops writing.
    ``has_sandbox``: an account stands in for this one.
    """
    proven = _proven(survey, policy, records, is_content=is_content, has_sandbox=has_sandbox)
    found = [*proven]
    for object_, field in _candidates(survey, policy):
        if len(found) >= MOST_SUGGESTED:
            break
        step = _opening(survey, object_, field)
        if _is_valid(step.toml):
            found.append(step)
    return tuple(found[:MOST_SUGGESTED])


def _proven(
    survey: Survey,
    policy: Policy,
    records: Mapping[tuple[str, str], TrackRecord],
    *,
    is_content: bool,
    has_sandbox: bool,
) -> Iterator[Suggestion]:
    labels = {(o.name, f.name): f.label for o in survey.objects for f in o.fields}
    for (object_, name), record in sorted(records.items()):
        rule = policy.rule(survey.crm, object_, name)
        if rule is None or rule.stage is Stage.LIVE or not _has_proved(record):
            continue
        stage = _next(rule, survey)
        if stage is Stage.LIVE and not is_content:
            continue
        label = labels.get((object_, name), name)
        if stage is Stage.SANDBOX and not has_sandbox:
            yield _account_first(rule, survey, record, label)
        else:
            yield _promotion(rule, stage, record, label)


def _next(rule: FieldRule, survey: Survey) -> Stage:
    """Only people and new people can be tried; anything else goes to the live record at once."""
    is_tried = rule.stage is Stage.DRY_RUN and rule.object in {survey.people, DRAFTS}
    return Stage.SANDBOX if is_tried else Stage.LIVE


def _has_proved(record: TrackRecord) -> bool:
    share = 100 * record.unedited >= ENOUGH_UNEDITED * record.decided
    return record.decided >= ENOUGH_DECIDED and share and record.failed == 0


def _proof(rule: FieldRule, record: TrackRecord) -> str:
    percent = 100 * record.unedited // record.decided
    return (
        f"At stage {rule.stage} {record.decided} were decided, {percent} % accepted as proposed,"
        " none failed."
    )


def _account_first(rule: FieldRule, survey: Survey, record: TrackRecord, label: str) -> Suggestion:
    """A policy with stage sandbox would be refused while nothing stands in."""
    options = f'vendor = "{survey.vendor}"\nsandbox_of = "{rule.crm}"\n'
    return Suggestion(
        object=rule.object,
        field=rule.name,
        label=label,
        stage_now=str(rule.stage),
        stage=str(rule.stage),
        reason=(
            f"{_proof(rule, record)} Stage sandbox comes next, but no account has sandbox_of ="
            f' "{rule.crm}": add one to crms.read.toml and crms.write.toml first'
            " (deploy/crm/sandbox.md), then look again."
        ),
        toml=f"# in crms.read.toml and crms.write.toml, each with a credential of its own\n"
        f"[{_bare(f'{rule.crm}-test')}]\n{options}",
    )


def _promotion(rule: FieldRule, stage: Stage, record: TrackRecord, label: str) -> Suggestion:
    header = _header(rule.crm, rule.object, rule.name)
    return Suggestion(
        object=rule.object,
        field=rule.name,
        label=label,
        stage_now=str(rule.stage),
        stage=str(stage),
        reason=f"{_proof(rule, record)} {_WHAT_FOLLOWS[stage]}",
        toml=f'# in its table, instead of stage = "{rule.stage}"\n{header}\nstage = "{stage}"\n',
    )


def _candidates(survey: Survey, policy: Policy) -> Iterator[tuple[SurveyedObject, SurveyedField]]:
    """What is used, may be listed, and is not; a listed ``never`` is an admin's word, too."""
    written = RIGHTS[survey.vendor].written
    found = [
        (object_, field)
        for object_ in survey.objects
        for field in object_.fields
        if object_.name in written
        and (field.percent or 0) >= LEAST_PERCENT
        and field.type in _IN_WORDS
        and why_not(field) is None
        and why_careful(field) is None
        and policy.rule(survey.crm, object_.name, field.name) is None
    ]
    yield from sorted(found, key=lambda pair: _order(survey, *pair))


def _order(
    survey: Survey, object_: SurveyedObject, field: SurveyedField
) -> tuple[int, bool, bool, int, str, str]:
    """The least that can go wrong first; then what the rules propose, of people, often used."""
    is_ruled = _is_ruled(survey, object_, field)
    return (
        _caution(field, is_ruled=is_ruled),
        not is_ruled,
        object_.name != survey.people,
        -(field.percent or 0),
        object_.name,
        field.name,
    )


def _caution(field: SurveyedField, *, is_ruled: bool) -> int:
    """Of what the rules propose the meaning is known; of the rest, names and numbers come last."""
    if _CAUTION[field.type] > _PLACES_CAUTION:
        return _CAUTION[field.type]
    is_own = field.type == "text" and field.differs
    if not is_ruled and (is_own or _IDENTITY.search(field.name)):
        return max(_CAUTION.values()) + 1
    return _PLACES_CAUTION if _PLACE.search(field.name) else _CAUTION[field.type]


def _is_ruled(survey: Survey, object_: SurveyedObject, field: SurveyedField) -> bool:
    return object_.name == survey.people and field.name in survey.ruled


def _opening(survey: Survey, object_: SurveyedObject, field: SurveyedField) -> Suggestion:
    by = (
        "the rules propose it from mails and forms"
        if _is_ruled(survey, object_, field)
        else "only a model would propose it"
    )
    reason = (
        f"Filled in {field.percent} % of {field.read} {object_.name}, {_IN_WORDS[field.type]}, of"
        f" no closed class; our log keeps the old value, so undo works; {by}."
    )
    return Suggestion(
        object=object_.name,
        field=field.name,
        label=field.label,
        stage_now=None,
        stage=str(Stage.DRY_RUN),
        reason=reason,
        toml=_table(survey.crm, object_.name, field, reason),
    )


def _table(crm: str, object_: str, field: SurveyedField, reason: str) -> str:
    lines = [
        _header(crm, object_, field.name),
        'mode = "review"',
        f'stage = "{Stage.DRY_RUN}"',
        f'type = "{ValueType(field.type)}"',
    ]
    if field.type in _LENGTHS:
        lines.append(f"max_length = {min(field.max_length or 10_000, _LENGTHS[field.type])}")
    if field.type == "enum":
        lines.append(f"allowed = [{', '.join(map(_text, field.allowed_values or ()))}]")
    return "\n".join([*lines, f"reason = {_text(reason)}", ""])


def _header(*names: str) -> str:
    return f"[fields.{'.'.join(map(_bare, names))}]"


def _bare(name: str) -> str:
    """A key of TOML, in quotes where it must be."""
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    """As TOML writes a text, which is JSON's way."""
    return json.dumps(text, ensure_ascii=False)


def _is_valid(toml: str) -> bool:
    """Whether the policy takes it: not every name of a CRM is one there."""
    try:
        load_policy(toml)
    except ConfigurationError:
        return False
    return True
