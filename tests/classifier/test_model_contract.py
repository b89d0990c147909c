"""What is asked of a model, and what our double answers, against the public description."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest
import requests

from services.classifier.model import Model
from services.classifier.prompt import Prompt, prompt_about, prompt_for
from shared.errors import ModelUnavailable
from tests.beside import beside
from tests.classifier import examples, hostile
from tests.classifier.test_appending import about
from tests.classifier.test_model import CANARY, prompt
from tests.contracts.prism import proxied
from tests.fakes.openai_server import OpenAIServer, Script, completion, running_openai


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A model's server behind a proxy that lets only what the description allows pass."""

    server: OpenAIServer
    url: str

    def ask(self, question: Prompt) -> str | None:
        """Why there is no answer, if there is none."""
        model = Model(name="test-model", api_key="k", base_url=f"{self.url}/v1", timeout=30.0)
        return model.ask(question).error


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    contract = json.loads(beside("specs/openai-v1.json").read_text())
    folder = tmp_path_factory.mktemp("prism")
    with running_openai() as (server, url), proxied(contract, url[: -len("/v1")], folder) as proxy:
        yield Checked(server=server, url=proxy)


QUESTIONS: Mapping[str, Callable[[], Prompt]] = {
    "a record": prompt,
    "a stranger": lambda: prompt_for(examples.about_stranger(examples.event()), CANARY),
    "a record with notes and tasks open": lambda: prompt_for(about(), CANARY),
    "what a person asks": lambda: prompt_about(about(), "A reply.", CANARY),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_and_its_answer_are_as_described(checked: Checked, name: str) -> None:
    checked.server.answer(json.dumps(hostile.good()))
    assert checked.ask(QUESTIONS[name]()) is None


@pytest.mark.parametrize(
    ("member", "wrong"),
    [("store", "no"), ("n", 0), ("messages", []), ("response_format", {"type": "json"})],
)
def test_a_wrong_question_would_be_refused(checked: Checked, member: str, wrong: object) -> None:
    checked.server.answer("{}")
    checked.server.requests.clear()
    checked.ask(prompt())
    [good] = checked.server.requests
    answer = requests.post(
        f"{checked.url}/v1/chat/completions",
        json={**good, member: wrong},
        headers={"Authorization": "Bearer k"},
        timeout=30,
    )
    assert answer.status_code == 422, answer.text


def test_a_wrong_answer_would_be_told(checked: Checked) -> None:
    checked.server.say(Script(body={**completion("{}"), "choices": "none"}))
    with pytest.raises(ModelUnavailable, match="500"):
        checked.ask(prompt())
