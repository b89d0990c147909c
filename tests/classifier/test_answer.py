from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.classifier.answer import MAX_BYTES, Answer, json_schema, parse_answer
from shared.errors import BadPayload
from tests.classifier import hostile

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


def text(**changes: Any) -> str:
    return json.dumps({**hostile.good(), **changes})


def test_a_good_answer_is_read_whole() -> None:
    answer = parse_answer(text())
    (draft,) = answer.proposals
    assert [s.field for s in draft.fields] == ["phone", "email"]
    assert all(s.basis == "quoted" and s.start is None for s in draft.fields)


@pytest.mark.parametrize(
    "bad",
    [
        "", "null", "[]", "{}", "7", '"x"', "{", text() + "x", "\ufeff" + text(),
        text(extra=1), text(outcome="approved"), text(urgency="now"), text(summary=None),
        text(summary=7), text(summary="x" * 5000), text(next_steps="x"), text(next_steps=["x"] * 9),
        text(proposals=None), text(reply_draft=7), text(route=""), text(summary="\ud800"),
        text().replace('"route"', '"route":"a","route"'),
        text().replace('"+12025550147"', "1.5"),
        text().replace('"+12025550147"', "NaN"),
        text().replace('"+12025550147"', "12345678901234567"),
        text().replace('"+12025550147"', '["+1"]'),
        text().replace('"+12025550147"', '{"a":1}'),
        text().replace('"part"', '"confidence":1000,"part"'),
        "[" * 100_000, '{"a":' * 20 + "1" + "}" * 20,
        text(proposals=hostile.good()["proposals"] * 5),
        text(proposals=hostile.good()["proposals"] * 6),
        text(summary="x" * MAX_BYTES),
    ],
)  # fmt: skip
def test_anything_but_exactly_this_shape_is_refused(bad: str) -> None:
    with pytest.raises(BadPayload):
        parse_answer(bad)


@settings(max_examples=300, deadline=None)
@given(anything)
def test_no_json_breaks_the_gate(value: Any) -> None:
    with contextlib.suppress(BadPayload):
        assert isinstance(parse_answer(json.dumps(value)), Answer)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_no_text_breaks_the_gate(value: str) -> None:
    with pytest.raises(BadPayload):
        parse_answer(value)


def test_the_schema_for_the_server_closes_every_object() -> None:
    def objects(schema: Any) -> list[Any]:
        if isinstance(schema, list):
            return [found for item in schema for found in objects(item)]
        if not isinstance(schema, dict):
            return []
        own = [schema] if schema.get("type") == "object" else []
        return own + [found for item in schema.values() for found in objects(item)]

    found = objects(json_schema(["sales"], ["phone"], ["body"], ["record"]))
    assert len(found) == 3
    for table in found:
        assert table["additionalProperties"] is False
        assert table["required"] == list(table["properties"])
