from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from services.classifier.answer import MAX_BYTES
from services.classifier.model import Model, Prices
from services.classifier.prompt import Prompt, prompt_for
from shared.errors import ModelUnavailable
from tests.classifier import examples, hostile
from tests.fakes.openai_server import OpenAIServer, Script, completion, error, running_openai

CANARY = "f00dfacef00dface"


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[OpenAIServer, str]]:
    with running_openai() as found:
        yield found


@pytest.fixture
def server(running: tuple[OpenAIServer, str]) -> OpenAIServer:
    running[0].requests.clear()
    running[0].keys.clear()
    return running[0]


def model(running: tuple[OpenAIServer, str], **more: Any) -> Model:
    values: dict[str, Any] = {"name": "test-model", "api_key": "test-key", "timeout": 5.0, **more}
    return Model(base_url=running[1], **values)


def prompt(body: str = hostile.GOOD_BODY) -> Prompt:
    return prompt_for(examples.about_dana(examples.event(body)), CANARY)


def test_a_good_answer_comes_back_with_its_tokens(
    server: OpenAIServer, running: tuple[OpenAIServer, str]
) -> None:
    server.answer(json.dumps(hostile.good()))
    reply = model(running).ask(prompt())
    assert reply.error is None
    assert json.loads(reply.text) == hostile.good()
    assert (reply.tokens_in, reply.tokens_out) == (700, 90)


def test_the_request_asks_for_a_closed_schema_and_carries_the_key(
    server: OpenAIServer, running: tuple[OpenAIServer, str]
) -> None:
    server.answer("{}")
    model(running).ask(prompt())
    (request,) = server.requests
    wanted = request["response_format"]["json_schema"]
    assert wanted["strict"] is True
    assert wanted["schema"]["additionalProperties"] is False
    fields = wanted["schema"]["properties"]["proposals"]["items"]["properties"]["fields"]
    assert "owner" not in fields["items"]["properties"]["field"]["enum"]
    assert "tools" not in request
    assert server.keys == ["Bearer test-key"]


def test_only_policy_fields_of_the_one_record_are_sent(
    server: OpenAIServer, running: tuple[OpenAIServer, str]
) -> None:
    server.answer("{}")
    model(running).ask(prompt())
    sent = json.dumps(server.requests[0])
    assert "+12025550101" in sent
    assert "15000.00" not in sent
    assert "Ava Lindqvist" not in sent
    assert "1001" not in sent


@pytest.mark.parametrize(
    "script",
    [
        Script(status=429, body=error("slow down"), headers={"Retry-After": "1"}),
        Script(status=500, body=error("oops")),
        Script(status=503, body=b"<html>down</html>"),
        Script(status=401, body=error("bad key")),
        Script(status=404, body=error("no such model")),
        Script(body=completion("{}"), how="cut"),
    ],
    ids=["429", "500", "503", "401", "404", "cut"],
)
def test_trouble_on_the_way_is_worth_another_try_and_asks_once(
    server: OpenAIServer, running: tuple[OpenAIServer, str], script: Script
) -> None:
    server.say(script)
    with pytest.raises(ModelUnavailable):
        model(running).ask(prompt())
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "script",
    [
        Script(body=completion("{}"), how="hang", seconds=1.5),
        Script(body=completion("{}"), how="drip", seconds=0.05),
    ],
    ids=["hangs", "drips"],
)
def test_a_slow_server_is_left_in_time(
    server: OpenAIServer, running: tuple[OpenAIServer, str], script: Script
) -> None:
    server.say(script)
    started = time.monotonic()
    with pytest.raises(ModelUnavailable):
        model(running, timeout=0.5).ask(prompt())
    assert time.monotonic() - started < 1.2


def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(ModelUnavailable):
        Model(name="m", api_key="k", base_url="http://127.0.0.1:9/v1", timeout=2).ask(prompt())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (completion(None, refusal="I cannot help with that."), "refused"),
        (completion('{"summary":"cut', finish_reason="length"), "not finished: length"),
        (completion("{}", finish_reason="content_filter"), "content_filter"),
        (completion(None), "no text"),
        (completion("x" * (MAX_BYTES + 1)), "too long"),
        ({**completion("{}"), "choices": []}, "no choices"),
        ({"hello": "world"}, "no choices"),
        ([1, 2, 3], "no choices"),
        ("a text", ""),
        (b"not json at all", ""),
    ],
)
def test_an_unusable_answer_says_why(
    server: OpenAIServer, running: tuple[OpenAIServer, str], body: Any, words: str
) -> None:
    server.say(Script(body=body))
    reply = model(running).ask(prompt())
    assert reply.error is not None
    assert words in reply.error


def test_wrong_token_counts_do_not_break_the_account(
    server: OpenAIServer, running: tuple[OpenAIServer, str]
) -> None:
    server.answer("{}", usage={"prompt_tokens": "many", "completion_tokens": -5})
    reply = model(running).ask(prompt())
    assert (reply.tokens_in, reply.tokens_out) == (0, 0)


def test_cost_is_counted_in_millionths_of_a_cent() -> None:
    assert Prices(cents_in=15, cents_out=60).microcents(700, 90) == 15 * 700 + 60 * 90


def test_the_version_of_a_prompt_is_its_file_and_hash() -> None:
    version = prompt().version
    assert version.startswith("classify.v1+")
    assert prompt("another mail").version == version


def test_the_canary_is_in_the_question_and_not_in_the_log() -> None:
    found = prompt()
    assert CANARY in found.system
    assert CANARY not in found.logged
