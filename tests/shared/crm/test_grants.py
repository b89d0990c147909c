from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.crm.granted import Granted
from shared.crm.grants import (
    ENDED,
    GRANTS,
    READY,
    REFRESHING,
    RETRYING,
    UNANSWERED,
    AnswerLost,
    GrantRefused,
    Grants,
    Pair,
)
from shared.crm.oauth import CodeFlow, code_of
from shared.crm.sealing import Sealer, next_keys
from shared.db import open_database
from shared.errors import (
    ConfigurationError,
    CRMUnavailable,
    PipelineError,
    Rejected,
    StoreUnavailable,
)
from shared.faultpoints import wire_killer
from tests.databases import fresh_database
from tests.fakes.faulty_crm import Fault, FaultyCrm, served, status
from tests.fakes.token_endpoint import CLIENT, CODE, TokenEndpoint

KEY = "ab" * 32
POINTS = ("grant.begun", "grant.answered", "grant.stored")


@dataclass
class Clock:
    at: datetime

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **span: float) -> None:
        self.at += timedelta(**span)


@dataclass(kw_only=True)
class Stage:
    url: str
    vendor: TokenEndpoint
    faulty: FaultyCrm
    clock: Clock
    grants: Grants
    flow: CodeFlow

    def give(self, seconds: float = 0.0) -> None:
        """A grant whose access token has ``seconds`` left."""
        past = replace(self.grants, clock=lambda: self.clock() - timedelta(hours=1))
        pair = Pair(access="old", refresh=self.vendor.start(), seconds=3600 + seconds)
        past.keep("jobber", pair)

    def again(self) -> Grants:
        """The same grants as another process has them."""
        return Grants(engine=open_database(self.url), sealer=Sealer(KEY), clock=self.grants.clock)

    def access(self, grants: Grants | None = None, **more: Any) -> str:
        with_ = grants or self.grants
        return with_.access("jobber", self.flow.next, patience=5.0, **more).text

    def state(self) -> str:
        return self.grants.states()[0].state

    def double_uses(self) -> list[str]:
        return [token for token, count in self.vendor.used.items() if count > 1]

    def killed(self, point: str) -> None:
        """Another process that needs a token, and dies at ``point``."""
        child = Child.of(self, point)
        child.go()
        assert child.ended() == -signal.SIGKILL, f"it lived on past {point}"


@dataclass(kw_only=True)
class Child:
    """A process of its own that waits for its start, asks for a token, and says it."""

    pid: int
    start: int
    said: int

    @classmethod
    def of(cls, stage: Stage, point: str = "") -> Child:
        waits, start = os.pipe()
        said, says = os.pipe()
        pid = os.fork()
        if pid:
            os.close(waits)
            os.close(says)
            return cls(pid=pid, start=start, said=said)
        try:
            os.read(waits, 1)
            os.write(says, _in_child(stage, point).encode())
        finally:
            os._exit(0)

    def go(self) -> None:
        os.write(self.start, b"x")

    def answer(self) -> str:
        with os.fdopen(self.said) as pipe:
            return pipe.read()

    def ended(self) -> int:
        os.close(self.start)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _in_child(stage: Stage, point: str) -> str:
    def kill(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    wire_killer(kill)
    held = Granted(Grants.at(stage.url, KEY), "jobber", stage.flow.next, patience=30.0)
    try:
        return held.headers()["Authorization"]
    except PipelineError as error:
        return repr(error)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    vendor = TokenEndpoint()
    faulty = FaultyCrm(vendor)
    url = fresh_database(tmp_path, "grants_read")
    grants = Grants(engine=open_database(url), sealer=Sealer(KEY), clock=Clock(datetime.now(UTC)))
    grants.create_tables()
    with served(faulty) as address:
        flow = CodeFlow(
            authorize_url="https://vendor.example/authorize",
            token_url=f"{address}/token",
            client_id=CLIENT[0],
            client_secret=CLIENT[1],
            redirect_url="https://example.com/back",
            timeout=0.5,
        )
        assert isinstance(grants.clock, Clock)
        yield Stage(
            url=url, vendor=vendor, faulty=faulty, clock=grants.clock, grants=grants, flow=flow
        )
    grants.engine.dispose()


def test_a_token_that_is_good_is_used_as_it_is(stage: Stage) -> None:
    stage.give(seconds=3600)
    assert stage.access() == "old"
    assert not stage.vendor.used


def test_a_new_pair_is_stored_before_its_token_is_seen(stage: Stage) -> None:
    stage.give()
    seen: list[str] = []

    def look(point: str) -> None:
        if point == "grant.stored":
            seen.append(stage.again().access("jobber", stage.flow.next, patience=0).text)

    wire_killer(look)
    try:
        assert [stage.access()] == seen
    finally:
        wire_killer(None)
    assert sum(stage.vendor.used.values()) == 1


def test_thread_after_thread_and_grant_after_grant_rotate_once_each(stage: Stage) -> None:
    stage.give()
    for round_ in range(1, 6):
        stage.access(stage.again())
        stage.clock.forward(hours=2)
        assert sum(stage.vendor.used.values()) == round_
    assert not stage.double_uses()


def test_eight_threads_that_need_a_token_at_once_renew_it_once(stage: Stage) -> None:
    stage.give()
    gate = threading.Barrier(8)

    def one(_: int) -> str:
        grants = stage.again()
        gate.wait()
        return stage.access(grants)

    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(one, range(8)))
    assert len(tokens) == 1
    assert sum(stage.vendor.used.values()) == 1


def test_eight_processes_that_need_a_token_at_once_renew_it_once(stage: Stage) -> None:
    stage.give()
    children = [Child.of(stage) for _ in range(8)]
    for child in children:
        child.go()
    said = {child.answer() for child in children}
    assert [child.ended() for child in children] == [0] * 8
    assert len(said) == 1
    assert said.pop().removeprefix("Bearer ") in stage.vendor.access
    assert dict(stage.vendor.used) == {"refresh-1": 1}


def test_whoever_is_refused_by_the_crm_at_once_renews_once(stage: Stage) -> None:
    """Two hold the same token when the CRM stops taking it."""
    stage.give(seconds=3600)
    holders = [Granted(stage.again(), "jobber", stage.flow.next, patience=5) for _ in range(2)]
    assert {held.headers()["Authorization"] for held in holders} == {"Bearer old"}
    assert all(held.renew(held.headers()) for held in holders)
    assert len({held.headers()["Authorization"] for held in holders}) == 1
    assert dict(stage.vendor.used) == {"refresh-1": 1}


def test_the_key_of_the_grants_changes_in_two_steps_and_no_process_is_left_out(
    stage: Stage,
) -> None:
    """Between two steps some processes have the keys of before, and some those of now."""
    steps = [KEY]
    for _ in range(3):
        steps.append(next_keys(steps[-1]))
    stage.give(seconds=3600)
    for before, now in pairwise(steps):
        old, new = (replace(stage.grants, sealer=Sealer(keys)) for keys in (before, now))
        for sealing, opening in ((old, new), (new, old)):
            sealing.keep("jobber", Pair(access="token", refresh=stage.vendor.start(), seconds=3600))
            assert stage.access(opening) == "token"
        assert new.reseal() == 1
        assert stage.access(old) == stage.access(new) == "token"
    with pytest.raises(ConfigurationError, match="does not open"):
        stage.access(replace(stage.grants, sealer=Sealer(KEY)))
    stage.clock.forward(hours=2)
    assert stage.access(replace(stage.grants, sealer=Sealer(steps[-1]))) in stage.vendor.access
    assert not stage.double_uses()


@pytest.mark.parametrize("is_kind", [False, True])
@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_any_point_ends_in_a_token_or_in_a_clear_word(
    stage: Stage, point: str, *, is_kind: bool
) -> None:
    stage.give()
    stage.vendor.is_kind = is_kind
    stage.killed(point)
    # Only there had the vendor answered, and nobody has its answer.
    was_lost = point == "grant.answered"
    if was_lost and not is_kind:
        for _ in range(2):
            with pytest.raises(GrantRefused, match="countersign crm authorize jobber"):
                stage.access()
        assert stage.state() == ENDED
        assert stage.vendor.used["refresh-1"] == 2, "the old token is tried once and not again"
        stage.give()
    assert stage.access() in stage.vendor.access
    assert stage.state() == READY
    assert stage.double_uses() == (["refresh-1"] if was_lost else [])


def test_two_deaths_over_the_same_token_are_left_to_a_person(stage: Stage) -> None:
    stage.give()
    stage.killed("grant.begun")
    stage.killed("grant.begun")
    with pytest.raises(GrantRefused, match="lost twice"):
        stage.access()
    assert not stage.vendor.used


LOST = [
    Fault(kind="hang", has_effect=True),
    Fault(kind="cut", has_effect=True),
    Fault(kind="cut-body", has_effect=True),
    status(502, has_effect=True),
    status(200, b"<html>", has_effect=True),
]
UNDONE = [Fault(kind="hang"), Fault(kind="cut"), status(500)]


@pytest.mark.parametrize("fault", [*LOST, *UNDONE], ids=str)
def test_an_answer_that_is_lost_lets_the_old_token_be_tried_once(
    stage: Stage, fault: Fault
) -> None:
    stage.give()
    stage.faulty.script("POST", fault)
    with pytest.raises(AnswerLost):
        stage.access()
    assert stage.state() == UNANSWERED
    calls = len(stage.faulty.calls)
    with pytest.raises(CRMUnavailable, match="in a moment"):
        stage.access()
    assert len(stage.faulty.calls) == calls, "not before the vendor has come to rest"
    stage.clock.forward(seconds=20)
    if fault.has_effect:
        with pytest.raises(GrantRefused, match="has ended"):
            stage.access()
        assert stage.state() == ENDED
    else:
        assert stage.access() in stage.vendor.access
        assert stage.state() == READY


def test_a_kind_vendor_gives_a_pair_for_the_old_token(stage: Stage) -> None:
    stage.give()
    stage.vendor.is_kind = True
    stage.faulty.script("POST", Fault(kind="cut", has_effect=True))
    with pytest.raises(AnswerLost):
        stage.access()
    stage.clock.forward(seconds=20)
    assert stage.access() in stage.vendor.access


def test_two_lost_answers_end_the_grant(stage: Stage) -> None:
    stage.give()
    stage.faulty.script("POST", Fault(kind="cut"), Fault(kind="cut"))
    with pytest.raises(AnswerLost):
        stage.access()
    stage.clock.forward(seconds=20)
    with pytest.raises(AnswerLost):
        stage.access()
    assert stage.state() == ENDED
    calls = len(stage.faulty.calls)
    with pytest.raises(GrantRefused):
        stage.access()
    assert len(stage.faulty.calls) == calls


@pytest.mark.parametrize("fault", [status(429, Retry_After="1"), status(503)], ids=str)
def test_what_certainly_had_no_effect_leaves_the_grant_as_it_was(
    stage: Stage, fault: Fault
) -> None:
    stage.give()
    stage.faulty.script("POST", fault)
    with pytest.raises(CRMUnavailable):
        stage.access()
    assert stage.state() == READY
    assert stage.access() in stage.vendor.access


def test_an_end_point_that_cannot_be_reached_leaves_the_grant_as_it_was(stage: Stage) -> None:
    stage.give()
    away = CodeFlow(
        authorize_url="",
        token_url="http://127.0.0.1:1/token",
        client_id="x",
        client_secret="x",
        redirect_url="x",
    )
    with pytest.raises(CRMUnavailable, match="cannot be reached"):
        stage.grants.access("jobber", away.next, patience=1)
    assert stage.state() == READY


def test_a_wrong_client_secret_uses_nothing_up(stage: Stage) -> None:
    stage.give()
    wrong = CodeFlow(
        authorize_url="",
        token_url=stage.flow.token_url,
        client_id=CLIENT[0],
        client_secret="wrong",
        redirect_url="x",
    )
    with pytest.raises(Rejected, match="invalid_client"):
        stage.grants.access("jobber", wrong.next, patience=1)
    assert stage.state() == READY
    assert stage.access() in stage.vendor.access


def test_a_refused_token_is_a_clear_word_and_a_new_grant_heals_it(stage: Stage) -> None:
    stage.give()
    stage.vendor.start()  # Somebody has authorised elsewhere: ours is dead.
    with pytest.raises(GrantRefused, match="unknown"):
        stage.access()
    with pytest.raises(GrantRefused):
        stage.access()
    assert stage.vendor.used["refresh-1"] == 1
    stage.give()
    assert stage.access() in stage.vendor.access


def test_no_grant_at_all_says_what_to_do(stage: Stage) -> None:
    with pytest.raises(Rejected, match="countersign crm authorize jobber"):
        stage.access()


def _paused(stage: Stage, during: Callable[[], None]) -> Callable[[str], Pair]:
    """A process that stands still after the vendor has answered it."""

    def refresh(token: str) -> Pair:
        pair = stage.flow.next(token)
        during()
        return pair

    return refresh


def test_a_pair_counts_although_another_took_over_and_was_refused(stage: Stage) -> None:
    stage.give()

    def take_over() -> None:
        stage.clock.forward(seconds=61)
        with pytest.raises(GrantRefused):
            stage.access(stage.again())
        assert stage.state() == ENDED

    found = stage.grants.access("jobber", _paused(stage, take_over), patience=1)
    assert found.text in stage.vendor.access
    assert stage.state() == READY
    assert stage.access(stage.again()) == found.text


def test_a_pair_that_comes_after_a_newer_grant_is_not_used(stage: Stage) -> None:
    stage.give()

    def authorise() -> None:
        pair = Pair(access="newest", refresh=stage.vendor.start(), seconds=3600)
        stage.again().keep("jobber", pair)

    found = stage.grants.access("jobber", _paused(stage, authorise), patience=1)
    assert found.text == "newest"


def test_an_old_holder_that_is_refused_leaves_the_new_one_alone(stage: Stage) -> None:
    stage.give()

    def refuse(_: str) -> Pair:
        stage.clock.forward(seconds=61)
        stage.access(stage.again())
        raise GrantRefused("unknown")

    found = stage.grants.access("jobber", refuse, patience=1)
    assert found.text in stage.vendor.access
    assert stage.state() == READY


def test_a_pair_outlives_a_store_that_is_away_when_it_comes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.give()
    held = Granted(stage.grants, "jobber", stage.flow.next, patience=1)

    def away(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Grants, "_sealed", away)
        with pytest.raises(CRMUnavailable, match="the disk is full"):
            held.headers()
    assert stage.state() == REFRESHING
    assert held.headers()["Authorization"].removeprefix("Bearer ") in stage.vendor.access
    assert not stage.double_uses()
    assert stage.state() == READY


def test_a_pair_stored_late_outlives_the_refusal_of_who_took_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.give()

    def away(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Grants, "_sealed", away)
        with pytest.raises(StoreUnavailable):
            stage.access()
    stage.clock.forward(seconds=61)
    stored: list[str] = []

    def refuse(_: str) -> Pair:
        stored.append(stage.access())
        raise GrantRefused("unknown")

    found = stage.again().access("jobber", refuse, patience=1)
    assert [found.text] == stored
    assert stage.state() == READY


def test_a_vendor_that_does_not_rotate_gives_the_same_token_again(stage: Stage) -> None:
    stage.give()
    stage.vendor.rotates = False
    stage.access()
    stage.clock.forward(hours=2)
    assert stage.access() in stage.vendor.access
    assert dict(stage.vendor.used) == {"refresh-1": 2}


def test_no_token_lies_in_the_open(stage: Stage, tmp_path: Path) -> None:
    stage.give()
    token = stage.access()
    with stage.grants.engine.connect() as db:
        row = dict(db.execute(select(GRANTS)).mappings().one())
    for value in row.values():
        assert token not in str(value)
        assert str(stage.vendor.alive) not in str(value)
    assert token not in repr(stage.grants.access("jobber", stage.flow.next, patience=0))


def test_a_token_moved_to_another_place_or_under_another_key_does_not_open(stage: Stage) -> None:
    stage.give(seconds=3600)
    other = Grants(engine=stage.grants.engine, sealer=Sealer("cd" * 32))
    with pytest.raises(ConfigurationError, match="does not open"):
        other.access("jobber", stage.flow.next, patience=0)
    stage.clock.forward(hours=2)
    with pytest.raises(ConfigurationError, match="does not open"):
        Grants(engine=stage.grants.engine, sealer=Sealer("cd" * 32), clock=stage.clock).access(
            "jobber", stage.flow.next, patience=0
        )
    assert stage.state() == READY, "whoever cannot open it marks nothing"
    with stage.grants.engine.begin() as db:
        db.execute(update(GRANTS).values(refresh=GRANTS.c.access))
    with pytest.raises(ConfigurationError, match="does not open"):
        stage.access()
    for bad in ("", "ab", "x" * 64):
        with pytest.raises(ConfigurationError):
            Sealer(bad)


def test_the_wait_for_another_process_has_an_end(stage: Stage) -> None:
    stage.give()
    with stage.grants.engine.begin() as db:
        until = (stage.clock() + timedelta(seconds=30)).isoformat().replace("+00:00", "Z")
        db.execute(update(GRANTS).values(state=RETRYING, owner="elsewhere:1", until=until))
    with pytest.raises(CRMUnavailable, match="another process"):
        stage.grants.access("jobber", stage.flow.next, patience=0.1)


def test_the_first_pair_comes_for_the_code_of_the_very_request(stage: Stage) -> None:
    asked = stage.flow.address("state-1")
    assert asked.startswith(
        "https://vendor.example/authorize?response_type=code&client_id=client-1"
    )
    back = f"https://example.com/back?code={CODE}&state=state-1"
    stage.grants.keep("jobber", stage.flow.first(code_of(back, "state-1")))
    assert stage.access() in stage.vendor.access
    for wrong, why in (
        (back.replace("state-1", "state-2"), "does not answer"),
        (f"https://example.com/back?code={CODE}", "does not answer"),
        ("https://example.com/back?error=access_denied&state=state-1", "access_denied"),
        ("https://example.com/back?state=state-1", "no code"),
        (CODE, "does not answer"),
    ):
        with pytest.raises(Rejected, match=why):
            code_of(wrong, "state-1")
    with pytest.raises(Rejected):
        stage.flow.first("another")
