"""Every fixture of every source through the real endpoint; nobody edits this to add a source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.ingest.sources import SOURCES
from shared.domain.event import EventSchema
from shared.domain.schema import dump
from tests.beside import beside, is_expected
from tests.vectors import Server, chained, differences, judge

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "fixtures" / "webhooks"
PUBLISHED = "data/webhook_vectors.json"
FIXTURES = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*/*.json"))
}
VECTORS = {
    vector["id"]: vector
    for vector in (
        json.loads(beside(PUBLISHED).read_text(encoding="utf-8")) if is_expected(PUBLISHED) else []
    )
}


def published(id_: str) -> dict[str, Any]:
    beside(PUBLISHED)
    vector: dict[str, Any] = VECTORS[id_]
    return vector


@pytest.mark.parametrize("name", FIXTURES)
def test_a_fixture_gets_its_verdict_its_answer_and_becomes_its_events(
    name: str, tmp_path: Path, server: Server
) -> None:
    vector = FIXTURES[name]
    seen = judge([vector], tmp_path, server)
    assert differences(vector, seen) == []
    plain = [_short(dump(EventSchema, event)) for event in seen.events]
    assert plain == vector.get("events", [])


@pytest.mark.parametrize("id_", [i for i, v in VECTORS.items() if v["source"] in SOURCES])
def test_a_published_vector_is_judged_as_it_says(id_: str, tmp_path: Path, server: Server) -> None:
    chain = chained(VECTORS[id_], VECTORS)
    assert differences(VECTORS[id_], judge(chain, tmp_path, server)) == []


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_has_a_valid_a_tampered_a_wrong_secret_and_a_stale_or_missing_case(
    source: str,
) -> None:
    cases = [name.partition("__")[2] for name in FIXTURES if name.startswith(f"{source}/")]
    for needed in (
        {"valid"},
        {"tampered"},
        {"wrong_secret"},
        {"stale", "missing", "missing_header"},
    ):
        assert needed & set(cases), f"capture one under webhooks/{source}/<kind>__{needed}"


@pytest.mark.parametrize("source", [name for name, s in SOURCES.items() if s.handled])
def test_each_handled_kind_has_a_fixture(source: str) -> None:
    handled = SOURCES[source].handled or frozenset()
    captured = {
        event["type"]
        for name, vector in FIXTURES.items()
        if name.startswith(f"{source}/")
        for event in vector.get("events", [])
    }
    missing = handled - captured
    assert not missing, f"capture one under webhooks/{source}/<kind>__<case> for: {missing}"


def test_the_runner_fails_a_vector_whose_verdict_or_expectation_is_turned_round(
    tmp_path: Path, server: Server
) -> None:
    good = published("stdwh-v1-ok")
    seen = judge([good], tmp_path / "a", server)
    assert differences({**good, "valid": False}, seen)
    assert differences({**good, "expect": {"dedup_id": "another"}}, seen)
    assert differences({**good, "expect": {"response_status": 418}}, seen)
    stale = published("stdwh-v1-stale")
    refused = judge([stale], tmp_path / "b", server)
    assert differences({**stale, "valid": True}, refused)
    assert differences({**stale, "reason": "wrong signature"}, refused)


def test_the_runner_notices_a_repeat_that_was_taken_as_new(tmp_path: Path, server: Server) -> None:
    good = published("stdwh-v1-ok")
    repeat = {**good, "id": "again", "expect": {"duplicates_of": "stdwh-v1-ok"}}
    assert differences(repeat, judge([good, repeat], tmp_path / "a", server)) == []
    assert differences(repeat, judge([repeat], tmp_path / "b", server))


def _short(event: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, as the fixtures hold it."""
    return {key: value for key, value in event.items() if value not in (None, {}, [])}
