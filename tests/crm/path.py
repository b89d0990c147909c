"""The way of a change into a vendor's CRM, through the gate, whatever people and networks do.

Every connector passes these with its own fake: each moment and each fault once, and then as many
random ones as ``INTERLEAVINGS`` and ``FAILING_CALLS`` say (`make crm-proof`).
"""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.writer import acts, cards
from services.writer.crm.shelf import Shelf, ShelfReader
from services.writer.crm_reports import Level
from services.writer.doctor import examine
from shared.domain.proposal import SUBSTANCE, FieldChange, ProposalKind
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from shared.errors import Conflict, CRMUnavailable
from shared.faultpoints import wire_killer
from shared.policy import load_policy
from tests.crm import proof
from tests.fakes.faulty_crm import Fault, status
from tests.writer.world import POLICY_HEAD, World, running_world

if TYPE_CHECKING:
    from tests.crm.kit import Stage

# Before the record is read for the write: what a person does here, the gate sees.
BEFORE = ("before the write", "apply.locked", "apply.permitted", "apply.sent")
AFTER = ("apply.written", "apply.read_back", "after the write")
# Between read and write: only a CRM with a condition of its own can refuse here.
BETWEEN = ("apply.read", "apply.before_write")
FAULTS = (
    Fault(kind="cut"),
    Fault(kind="cut", has_effect=True),
    Fault(kind="cut-body", has_effect=True),
    Fault(kind="hang"),
    Fault(kind="hang", has_effect=True),
    status(500),
    status(502, has_effect=True),
    status(200, b"<html>Sign in</html>"),
)
# Each alone, and three in a row.
FAILURES = (*((fault,) for fault in FAULTS), (FAULTS[0], FAULTS[5], FAULTS[2]))
# For what is appended, many faults in one world: those for which nobody waits, and the others.
HANGING = tuple(one for one in FAILURES if one[0].kind == "hang")
CALM = tuple(one for one in FAILURES if one[0].kind != "hang")


def in_short(faults: tuple[Fault, ...]) -> str:
    return ", ".join(
        f"{fault.status if fault.kind == 'status' else fault.kind}{' done' * fault.has_effect}"
        for fault in faults
    )


def policy_of(stage: Stage) -> str:
    lines = [POLICY_HEAD]
    fields = [(stage.ref.type, name) for name in (stage.field, stage.other)]
    fields += [("drafts", name) for name in ("first_name", "last_name", "email")]
    for object_, name in fields:
        lines.append(
            f'[fields.{stage.ref.crm}.{object_}."{name}"]\nmode = "review"\nstage = "live"\n'
            f'type = "{"email" if name == "email" else "text"}"\nmax_length = 100\n'
            f"expiry_hours = 16\nper_hour = 100000\nper_day = 100000\n"
            f'reason = "For the tests."\nroles = ["approver"]\n'
        )
    lines += [_appended(stage, *one) for one in (("notes", "text"), ("tasks", "subject"))]
    return "\n".join(lines)


def _appended(stage: Stage, object_: str, name: str) -> str:
    return (
        f'[fields.{stage.ref.crm}.{object_}.{name}]\nmode = "review"\nstage = "live"\n'
        f'type = "text"\nmultiline = true\nmax_length = 500\nexpiry_hours = 16\n'
        f'per_hour = 100000\nper_day = 100000\nreason = "For the tests."\nroles = ["approver"]\n'
    )


class PathCases:
    @pytest.fixture
    def world(self, stage: Stage, tmp_path: Path) -> Iterator[World]:
        crm = stage.ref.crm

        def connect(engine: Any, clock: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            return (
                {crm: ShelfReader(stage.reader, engine, clock)},
                {crm: Shelf(crm, stage.writer, engine, clock)},
            )

        with running_world(tmp_path, policy=policy_of(stage), connect=connect) as world:
            yield world
        wire_killer(None)

    def test_no_edit_of_a_person_is_ever_lost(self, stage: Stage, world: World) -> None:
        for number, (moment, edited) in enumerate(rounds(stage)):
            self._interleave(stage, world, moment, edited, number)

    @pytest.mark.parametrize("batch", proof.batches("interleavings"))
    def test_at_random_no_edit_of_a_person_is_lost(
        self, stage: Stage, world: World, batch: proof.Batch
    ) -> None:
        begun, ends = time.monotonic(), Counter[str]()
        for number, (moment, edited) in enumerate(
            batch.chance.choices(rounds(stage), k=proof.BATCH)
        ):
            ends[self._interleave(stage, world, moment, edited, number)] += 1
        seconds = round(time.monotonic() - begun, 1)
        proof.write(stage.ref.crm, batch, seconds, rounds=proof.BATCH, **ends, lost=0)

    def _interleave(self, stage: Stage, world: World, moment: str, edited: str, number: int) -> str:
        done: list[str] = []

        def edit(name: str) -> None:
            if name == moment and not done:
                done.append(name)
                stage.fake.edit(stage.ref, edited, f"Person {number}", by="Robin")

        card = propose(stage, world, f"Wren {number}")
        world.approve(card)
        edit("before the write")
        wire_killer(edit)
        end = settle(world, card)
        wire_killer(None)
        edit("after the write")
        where = f"{moment}, {edited}, round {number}"
        assert done, where
        assert stage.fake.value(stage.ref, edited) == f"Person {number}", where
        row = world.change(card)
        if edited == stage.field and moment not in AFTER:
            assert end == "stale", (where, end, row.detail)
            body = world.last(Topic.CHANGE_STALE)
            if stage.knows_history:
                assert "Robin" in str(body["changed_by"]), where
        else:
            assert end == "applied", (where, end, row.rule, row.detail)
            if edited != stage.field:
                assert stage.fake.value(stage.ref, stage.field) == f"Wren {number}", where
        return end

    def test_nobody_approves_over_an_edit_that_the_card_does_not_show(
        self, stage: Stage, world: World
    ) -> None:
        card = propose(stage, world, "Wren")
        stage.fake.edit(stage.ref, stage.field, "Person", by="Robin")
        with pytest.raises(
            Conflict, match=f"^{re.escape(stage.field)} changed in the CRM meanwhile"
        ):
            world.approve(card)
        assert (settle(world, card), world.state(card)) == ("none", "pending")
        assert stage.fake.value(stage.ref, stage.field) == "Person"
        assert stage.fake.effects() == 0
        anew = acts.reread(world.web, world.person("ada"), card)
        [line] = cards.card(world.web, world.person("ada"), anew).lines
        assert line.before == "Person"

    def test_an_edit_beside_what_is_approved_stands_in_nobodys_way(
        self, stage: Stage, world: World
    ) -> None:
        card = propose(stage, world, "Wren")
        stage.fake.edit(stage.ref, stage.other, "Person", by="Robin")
        world.approve(card)
        assert settle(world, card) == "applied"
        assert stage.fake.value(stage.ref, stage.field) == "Wren"
        assert stage.fake.value(stage.ref, stage.other) == "Person"

    def test_the_card_says_what_this_crm_guarantees(self, stage: Stage, world: World) -> None:
        card = cards.card(world.web, world.person("ada"), propose(stage, world, "Wren"))
        assert ("refuses the write" in card.guarantee) is stage.conditional
        assert ("cannot refuse a stale write" in card.guarantee) is not stage.conditional

    def test_the_scopes_of_this_connector_are_understood(self, stage: Stage, world: World) -> None:
        crm = stage.ref.crm
        policy = load_policy(policy_of(stage))
        reader, writer = world.worker.readers[crm], world.worker.writers[crm]
        report = examine(crm, crm, reader, writer, policy, world.clock())
        said = [one.text for one in report.findings if one.level is Level.BAD]
        assert not [text for text in said if "read credential" in text or "lacks" in text], said
        alone = examine(crm, crm, reader, None, policy, world.clock())
        assert "no account here writes to it" in str(alone.problem)

    @pytest.mark.parametrize("faults", FAILURES, ids=in_short)
    def test_a_failing_crm_gets_a_value_at_most_once_and_nothing_stays_unknown(
        self, stage: Stage, world: World, faults: tuple[Fault, ...]
    ) -> None:
        card = propose(stage, world, "Wren")
        world.approve(card)
        stage.fake.script("write", *faults)
        end = settle(world, card, rounds=12)
        assert end == "applied", (end, world.change(card).detail)
        assert stage.fake.effects() == 1
        assert stage.fake.value(stage.ref, stage.field) == "Wren"

    @pytest.mark.parametrize("met", [CALM, HANGING], ids=["in time", "hanging"])
    def test_a_failing_crm_gets_a_note_or_task_at_most_once_and_nothing_stays_unknown(
        self, stage: Stage, world: World, met: tuple[tuple[Fault, ...], ...]
    ) -> None:
        rounds = [(ProposalKind.NOTE, one) for one in met]
        # The way is the same: of a task it is enough to see that it is found after its effect.
        rounds.append((ProposalKind.TASK, met[-1]))
        for number, (kind, faults) in enumerate(rounds, start=1):
            where = (kind, in_short(faults))
            field = FieldChange(
                field=SUBSTANCE[kind], before=None, after=f"Wren {number}.", confidence=600
            )
            card = world.propose(field, record=stage.ref, kind=kind).id
            world.approve(card)
            stage.fake.script("write", *faults)
            assert settle(world, card, rounds=12) == "applied", (where, world.change(card).detail)
            told = world.last(Topic.CHANGE_APPLIED)
            assert told["fields"][0]["read_back"] == f"Wren {number}.", where
            assert stage.fake.effects() == number, where

    @pytest.mark.parametrize("batch", proof.batches("failing calls"))
    def test_at_random_a_failing_crm_gets_a_value_at_most_once(
        self, stage: Stage, world: World, batch: proof.Batch
    ) -> None:
        begun, met, changes = time.monotonic(), Counter[str](), 0
        while met.total() < proof.BATCH:
            changes += 1
            faults = batch.writes()
            self._write_through(stage, world, f"Wren {changes}", faults, batch)
            met.update(in_short((fault,)) for fault in faults)
        seconds = round(time.monotonic() - begun, 1)
        found = {"calls": met.total(), "changes": changes, "effects": stage.fake.effects()}
        proof.write(stage.ref.crm, batch, seconds, **found, unknown=0, met=met)

    def _write_through(
        self,
        stage: Stage,
        world: World,
        value: str,
        faults: list[Fault],
        batch: proof.Batch,
    ) -> None:
        """One change meets all of these faults, and has one effect all the same.

        Whether it had one is not always to be read at once: then the completer has to find out.
        """
        reads: list[Fault] = []

        def hide(name: str) -> None:
            if name in {"apply.unknown", "apply.written"}:
                hidden = batch.reads()
                reads.extend(hidden)
                stage.fake.script("read", *hidden)

        effects, writes = stage.fake.effects(), len(stage.fake.writes())
        card = propose(stage, world, value)
        world.approve(card)
        stage.fake.script("write", *faults)
        wire_killer(hide)
        end = settle(world, card, rounds=12)
        wire_killer(None)
        where = (value, in_short(tuple(faults)), in_short(tuple(reads)))
        assert end == "applied", (where, end, world.change(card).detail)
        assert stage.fake.effects() == effects + 1, where
        # The last of the faults may have had the effect; else one more call had it.
        sent = len(faults) + (not faults[-1].has_effect)
        assert len(stage.fake.writes()) == writes + sent, where
        for _ in reads:  # What was not met is not left to the next change.
            with suppress(CRMUnavailable):
                stage.reader.read(stage.ref)
        assert stage.fake.value(stage.ref, stage.field) == value, where

    def test_a_new_person_is_a_draft_of_ours_until_somebody_promotes_it(
        self, stage: Stage, world: World
    ) -> None:
        crm, before = stage.ref.crm, stage.fake.effects()
        fields = [
            FieldChange(field=name, before=None, after=value, confidence=700)
            for name, value in stage.lead.items()
            if name in {"first_name", "last_name", "email"}
        ]
        ref = RecordRef(crm=crm, type="drafts", id="new")
        card = world.propose(*fields, record=ref, kind=ProposalKind.DRAFT).id
        world.approve(card)
        assert settle(world, card) == "applied"
        assert stage.fake.effects() == before
        row = world.change(card)
        acts.promote(world.web, world.person("ada"), row.id)
        world.promote_drafts()
        world.promote_drafts()
        made = world.last(Topic.DRAFT_PROMOTED)["record"]
        live = stage.reader.read(RecordRef(**made))
        assert live.fields[stage.reader.names["email"]] == stage.lead["email"]
        assert world.topics().count("draft.promoted") == 1


def rounds(stage: Stage) -> list[tuple[str, str]]:
    """Every moment, with the approved field and with another one."""
    moments = (*BEFORE, *AFTER, *(BETWEEN if stage.conditional else ()))
    return list(itertools.product(moments, (stage.field, stage.other)))


def propose(stage: Stage, world: World, value: str) -> str:
    before = stage.reader.read(stage.ref).fields[stage.field]
    change = FieldChange(field=stage.field, before=before, after=value, confidence=700)
    return world.propose(change, record=stage.ref).id


def settle(world: World, card: str, rounds: int = 6) -> str:
    """Time goes by and the completer comes round, until the change has ended."""
    for _ in range(rounds):
        world.pump()
        row = world.change(card)
        if row is not None and row.state in {"applied", "failed", "stale"}:
            return str(row.state)
        world.clock.forward(minutes=3)
        world.complete()
    row = world.change(card)
    return "none" if row is None else str(row.state)
