"""Asking the model within its budget: reserve, ask, check the shape, ask once more, settle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from services.classifier.answer import Answer, parse_answer
from services.classifier.budget import MAX_ATTEMPTS, Kept, Refused
from services.classifier.deps import WorkerDeps
from services.classifier.guard import Subject
from services.classifier.model import MAX_ANSWER_TOKENS, Model, Reply
from services.classifier.prompt import Prompt, prompt_for
from services.classifier.store import spending
from shared.domain.classification import Step
from shared.domain.proposal import Maker
from shared.domain.topics import Topic
from shared.errors import BadPayload, ModelUnavailable
from shared.faultpoints import reached

MAX_CALLS = 2
# A cautious guess before the server has counted: most texts have more characters per token.
CHARACTERS_PER_TOKEN = 3


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Question(Generic[T]):
    """``id`` recognises a repeat; ``parse`` raises `BadPayload` for a text that is no answer."""

    id: str
    chain: str
    subject: Subject
    prompt: Prompt
    parse: Callable[[str], T]


@dataclass(frozen=True, kw_only=True)
class Asked(Generic[T]):
    """What came of it. Without ``answer`` the rules speak, and ``flag`` says why.

    ``kept_as`` is the question whose stored answer is to be forgotten once it has its effect.
    """

    answer: T | None
    flag: str | None = None
    maker: Maker | None = None
    steps: tuple[Step, ...] = ()
    kept_as: str | None = None


def about_event(
    subject: Subject, deps: WorkerDeps, *, chain: str, round_: int, note: str | None
) -> Question[Answer]:
    """What is to become of an event."""
    return Question(
        id=f"{subject.event.id}#{round_}",
        chain=chain,
        subject=subject,
        prompt=prompt_for(subject, deps.canary, note),
        parse=parse_answer,
    )


def ask_model(question: Question[T], deps: WorkerDeps, model: Model) -> Asked[T]:
    """Raises `ModelUnavailable` while another try is worth it; after that the rules answer."""
    # Nothing is asked, and nothing spent, while the breaker is open: it is a try all the same.
    tokens = 0 if model.breaker.is_open else _estimate(question.prompt)
    taken = spending.reserve(
        deps.engine,
        question.id,
        chain=question.chain,
        sender=_sender(question.subject),
        tokens=tokens,
        budget=question.subject.policy.budget,
        now=deps.clock(),
    )
    if isinstance(taken, Refused):
        return Asked(answer=None, flag=taken.flag)
    if isinstance(taken, Kept):
        replies = [Reply(**row) for row in taken.replies]  # type: ignore[arg-type]
    else:
        reached("model.before_call")
        try:
            replies = _call(model, question, deps.canary)
        except ModelUnavailable:
            # What was reserved stays counted: a server that hangs may still charge for it.
            if taken.attempt < MAX_ATTEMPTS:
                raise
            return Asked(answer=None, flag="model_unavailable")
        reached("model.answered")
        used = sum(reply.tokens_in + reply.tokens_out for reply in replies)
        rows: list[object] = [asdict(reply) for reply in replies]
        spending.settle(deps.engine, question.id, reserved=tokens, used=used, replies=rows)
        reached("model.kept")
    return _asked(replies, question, model, deps)


def _call(model: Model, question: Question[T], canary: str) -> list[Reply]:
    """One question, and one more if the first answer cannot be used."""
    replies: list[Reply] = []
    for _ in range(MAX_CALLS):
        replies.append(model.ask(question.prompt))
        if _usable(replies[-1], question, canary)[0] is not None:
            break
    return replies


def _asked(
    replies: Sequence[Reply], question: Question[T], model: Model, deps: WorkerDeps
) -> Asked[T]:
    answer = _usable(replies[-1], question, deps.canary)[0]
    tokens_in = sum(reply.tokens_in for reply in replies)
    tokens_out = sum(reply.tokens_out for reply in replies)
    maker = Maker(
        kind="model",
        name=model.name,
        version=question.prompt.version,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost_microcents=model.prices.microcents(tokens_in, tokens_out),
    )
    steps = tuple(_steps(replies, question, model, deps))
    flag = None if answer is not None else "unusable_answer"
    return Asked(answer=answer, flag=flag, maker=maker, steps=steps, kept_as=question.id)


def _usable(reply: Reply, question: Question[T], canary: str) -> tuple[T | None, str | None]:
    """The answer, or in words why it is none."""
    if reply.error is not None:
        return None, reply.error
    if canary and canary in reply.text:
        return None, "the answer gives away the canary of the prompt"
    try:
        return question.parse(reply.text), None
    except BadPayload as error:
        return None, str(error)


def _steps(
    replies: Sequence[Reply], question: Question[T], model: Model, deps: WorkerDeps
) -> Iterator[Step]:
    for reply in replies:
        yield _asked_step(question.prompt, model, deps.clock())
        problem = _usable(reply, question, deps.canary)[1]
        yield _answered_step(reply, problem, model, deps)


def _asked_step(prompt: Prompt, model: Model, at: datetime) -> Step:
    data = {"model": model.name, "prompt_version": prompt.version, "prompt": prompt.logged}
    return Step(topic=str(Topic.MODEL_ASKED), at=at, data=data)


def _answered_step(reply: Reply, problem: str | None, model: Model, deps: WorkerDeps) -> Step:
    text = reply.text.encode("utf-8", "replace").decode()
    data: dict[str, Any] = {
        "model": model.name,
        "answer": text.replace(deps.canary, "[canary]") if deps.canary else text,
        "tokens_in": reply.tokens_in,
        "tokens_out": reply.tokens_out,
        "cost_microcents": model.prices.microcents(reply.tokens_in, reply.tokens_out),
        "milliseconds": reply.milliseconds,
        "error": problem,
    }
    return Step(topic=str(Topic.MODEL_ANSWERED), at=deps.clock(), data=data)


def _estimate(prompt: Prompt) -> int:
    """Tokens of one question and the longest answer."""
    length = len(prompt.system) + len(prompt.user) + len(str(prompt.schema))
    return length // CHARACTERS_PER_TOKEN + MAX_ANSWER_TOKENS


def _sender(subject: Subject) -> str:
    """Whose budget it is: the sender's, or that of the endpoint where nobody is named."""
    sender = subject.event.sender
    named = sender.email or sender.phone if sender else None
    return named or f"{subject.event.source}/{subject.event.endpoint}"
