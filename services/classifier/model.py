"""The only place that talks to a model: any server that speaks OpenAI's chat completions.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from services.classifier.answer import MAX_BYTES
from services.classifier.breaker import Breaker
from services.classifier.prompt import Prompt
from shared.errors import ModelUnavailable

if TYPE_CHECKING:
    from openai import OpenAI

MAX_ANSWER_TOKENS = 2000


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Cents per million tokens, in whole cents; zero where nothing is charged."""

    cents_in: int = 0
    cents_out: int = 0

    def microcents(self, tokens_in: int, tokens_out: int) -> int:
        """A cent per million tokens is a millionth of a cent per token: no rounding."""
        return tokens_in * self.cents_in + tokens_out * self.cents_out


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back: a text, or why there is no usable one. Tokens are as the server counts."""

    text: str
    error: str | None
    tokens_in: int
    tokens_out: int
    milliseconds: int


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model behind an address. ``timeout`` is in seconds, for the whole exchange."""

    name: str
    api_key: str
    base_url: str | None = None
    timeout: float = 30.0
    prices: Prices = Prices()
    clock: Callable[[], float] = time.monotonic

    def ask(self, prompt: Prompt) -> Reply:
        """One question, one call. Raises `ModelUnavailable` when it is worth asking later."""
        with self.breaker.watching():
            return self._ask(prompt)

    @cached_property
    def breaker(self) -> Breaker:
        return Breaker(clock=self.clock)

    def _ask(self, prompt: Prompt) -> Reply:
        client = self._client  # Loading the library takes seconds on a busy machine: not counted.
        started = self.clock()
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        try:
            # The client's own time-out starts anew with every byte; this one does not.
            completion = pool.submit(self._complete, client, prompt).result(timeout=self.timeout)
        except TookTooLong as error:
            raise ModelUnavailable(f"no answer within {self.timeout:g} s") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return _reply(completion, int((self.clock() - started) * 1000))

    def _complete(self, client: OpenAI, prompt: Prompt) -> Any:
        import openai

        try:
            return client.chat.completions.create(
                model=self.name,
                messages=[
                    {"role": "system", "content": prompt.system},
                    {"role": "user", "content": prompt.user},
                ],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "strict": True, "schema": prompt.schema},
                },
                max_completion_tokens=MAX_ANSWER_TOKENS,
                n=1,
                store=False,
            )
        except openai.APIStatusError as error:
            raise ModelUnavailable(f"the model's server answered {error.status_code}") from error
        except openai.APIConnectionError as error:
            raise ModelUnavailable("the model's server cannot be reached or is too slow") from error
        except (openai.OpenAIError, ValueError) as error:
            return f"the server's answer cannot be read: {type(error).__name__}"

    @cached_property
    def _client(self) -> OpenAI:
        from openai import OpenAI

        return OpenAI(
            api_key=self.api_key,
            base_url=self.base_url or "https://api.openai.com/v1",
            timeout=self.timeout,
            max_retries=0,
        )


def _reply(completion: Any, milliseconds: int) -> Reply:
    """The text of a completion; a server may answer anything, so nothing is taken for granted."""
    usage = getattr(completion, "usage", None)
    tokens = {
        "tokens_in": _count(getattr(usage, "prompt_tokens", 0)),
        "tokens_out": _count(getattr(usage, "completion_tokens", 0)),
    }
    text, error = _text(completion)
    return Reply(text=text, error=error, milliseconds=milliseconds, **tokens)


def _text(completion: Any) -> tuple[str, str | None]:
    if isinstance(completion, str):
        return "", completion[:200]
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        return "", "the answer has no choices"
    message = getattr(choices[0], "message", None)
    if getattr(message, "refusal", None):
        return "", "the model refused"
    content = getattr(message, "content", None)
    if not isinstance(content, str):
        return "", "the answer has no text"
    if len(content.encode("utf-8", "replace")) > MAX_BYTES:
        return content[:2000], "the answer is too long"
    reason = getattr(choices[0], "finish_reason", None)
    if reason != "stop":
        return content, f"the answer is not finished: {str(reason)[:40]}"
    return content, None


def _count(value: Any) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return max(0, min(value, 10_000_000)) if is_count else 0
