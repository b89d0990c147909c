"""What a failed request answers: what happened, what was not done, what to do next, and an id."""

from __future__ import annotations

import re
import secrets
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import g, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from jinja2 import TemplateError
from werkzeug.exceptions import HTTPException

from shared.access import door, wants_json
from shared.errors import (
    BadPayload,
    BadSignature,
    Conflict,
    Forbidden,
    NotApproved,
    NotFound,
    NotSignedIn,
    PipelineError,
    Rejected,
    TooFast,
    TooLarge,
    Unavailable,
)

# Without the letters and digits that look or sound like another one.
ID_SIGNS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
NOT_TYPED = re.compile(r"csrf|password|secret|digest|_id$|^id$|nonce|seconds")
MACHINE_TEXT = re.compile(r"[0-9a-f-]{16,}")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """``code`` is for programs, the rest for people."""

    status: int
    code: str
    title: str
    message: str
    not_done: str
    advice: str


@dataclass(frozen=True)
class Words:
    code: str
    title: str
    not_done: str
    advice: str


NOTHING = "Nothing was changed."
WORDS: dict[type[PipelineError], Words] = {
    NotSignedIn: Words(
        "not_signed_in", "Please sign in", NOTHING, "Sign in, then open the page again."
    ),
    Forbidden: Words(
        "forbidden",
        "Not authorised",
        NOTHING,
        "Open the page afresh and try once more, or ask an admin for the role.",
    ),
    NotApproved: Words(
        "not_approved", "A rule refuses this", "Nothing was written.", "Read which rule it was."
    ),
    NotFound: Words(
        "not_found", "There is nothing here", NOTHING, "Check the address, or use the search."
    ),
    Conflict: Words(
        "conflict", "Somebody was first", NOTHING, "Open the page afresh to see how it stands now."
    ),
    TooFast: Words("too_fast", "Too many tries", NOTHING, "Wait as long as it says, then go on."),
    TooLarge: Words("too_large", "This is too large", NOTHING, "Send less at once."),
    BadSignature: Words(
        "bad_signature", "Not verified", NOTHING, "Check the secret on both sides."
    ),
    BadPayload: Words("bad_payload", "Something is missing", NOTHING, "Correct it and send again."),
    Rejected: Words("rejected", "This cannot be done", NOTHING, "Correct it and send again."),
    Unavailable: Words(
        "unavailable",
        "A part of the system does not answer",
        "Your last step was not carried out.",
        "Wait a minute and try again; nothing has to be entered twice.",
    ),
    PipelineError: Words(
        "failed",
        "Something went wrong on our side",
        "It is not certain that your last step was carried out: look before you repeat it.",
        "Give support the id below; it leads to the cause.",
    ),
}
HTTP_ERRORS: dict[int, type[PipelineError]] = {
    400: Rejected,
    401: NotSignedIn,
    403: Forbidden,
    404: NotFound,
    413: TooLarge,
    415: BadPayload,
    422: BadPayload,
    429: TooFast,
    503: Unavailable,
}


def answer(error: Exception) -> ResponseReturnValue:
    """The page or JSON of any exception; what is not the caller's fault is logged as an error."""
    if isinstance(error, HTTPException) and error.code is not None and error.code < 400:
        return error.get_response()  # A redirect of the router.
    problem = describe(error)
    support_id = _log(error, problem)
    headers = _headers(error)
    if wants_json() or _is_raw():
        body = {
            "error": {
                "code": problem.code,
                "message": problem.message,
                "not_done": problem.not_done,
                "advice": problem.advice,
                "id": support_id,
            }
        }
        return jsonify(body), problem.status, headers
    page = render_template("problem.html", problem=problem, support_id=support_id, typed=_typed())
    return page, problem.status, headers


def describe(error: Exception) -> Problem:
    """The problem of an exception. Words of `Unavailable` and of bugs stay in the log."""
    if isinstance(error, HTTPException):
        status = error.code or 500
        kind = HTTP_ERRORS.get(status, Rejected if status < 500 else PipelineError)
        return _problem(status, kind, f"{error.name}.")
    if isinstance(error, Rejected):
        own = next(kind for kind in type(error).__mro__ if kind in WORDS)
        text = str(error) or _docstring(error)
        problem = _problem(error.status, own, text)
        if isinstance(error, NotApproved):
            return _with_rule(problem, error.rule)
        return problem
    if isinstance(error, Unavailable):
        return _problem(error.status, Unavailable, _docstring(error))
    return _problem(500, PipelineError, "An unexpected fault stopped this request.")


def _problem(status: int, kind: type[PipelineError], message: str) -> Problem:
    words = WORDS[kind]
    return Problem(
        status=status,
        code=words.code,
        title=words.title,
        message=message,
        not_done=words.not_done,
        advice=words.advice,
    )


def _with_rule(problem: Problem, rule: str) -> Problem:
    return Problem(
        status=problem.status,
        code=problem.code,
        title=problem.title,
        message=problem.message,
        not_done=problem.not_done,
        advice=f"The rule is named “{rule}”.",
    )


def _docstring(error: Exception) -> str:
    return (type(error).__doc__ or "").strip().splitlines()[0]


def _log(error: Exception, problem: Problem) -> str:
    """One line with the support id; a traceback for what is a fault of ours."""
    import structlog

    support_id = "".join(secrets.choice(ID_SIGNS) for _ in range(8))
    g.support_id = support_id
    where = {
        "id": support_id,
        "code": problem.code,
        "method": request.method,
        "route": str(request.url_rule or "-"),
        "status": problem.status,
    }
    log = structlog.get_logger()
    if problem.status >= 500:
        log.error("request failed", error=type(error).__name__, **_cause(error), **where)
    elif not _is_raw():
        log.info("request refused", **where)
    return support_id


def _cause(error: Exception) -> dict[str, Any]:
    """Where it happened. The words of a foreign exception can hold what a customer wrote, so only
    our own and those of templates, which name variables, are kept.
    """
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    cause: dict[str, Any] = {
        "frames": [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in frames]
    }
    if isinstance(error, (PipelineError, TemplateError)):
        cause["reason"] = str(error)
    if error.__cause__ is not None:
        cause["cause"] = type(error.__cause__).__name__
    return cause


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, TooFast):
        return {"Retry-After": str(error.seconds)}
    if isinstance(error, Unavailable):
        return {"Retry-After": "30"}
    if isinstance(error, NotSignedIn):
        return {"WWW-Authenticate": "Bearer"}
    allowed: Any = getattr(error, "valid_methods", None)
    return {"Allow": ", ".join(sorted(allowed))} if allowed else {}


def _is_raw() -> bool:
    access = door().views.get(request.endpoint or "")
    return access is not None and access.raw


def _typed() -> list[tuple[str, str]]:
    """What a person typed into the form that was refused, so that it can be copied."""
    try:
        given = list(request.form.items(multi=True))
    except HTTPException:
        return []  # The form itself is what cannot be read.
    return [
        (name, value)
        for name, value in given
        if value.strip() and not NOT_TYPED.search(name) and not MACHINE_TEXT.fullmatch(value)
    ]
