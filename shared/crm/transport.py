"""One HTTP exchange with a CRM: a deadline for the whole of it, no redirects, strict JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from marshmallow import ValidationError

from shared.domain.schema import Scalar
from shared.errors import CRMUnavailable, NotFound, Rejected

if TYPE_CHECKING:
    from requests import Response, Session

LARGEST_ANSWER = 8 * 1024 * 1024
_LARGEST_EXACT = 2**53
# Where the error bodies of CRMs keep their words, the most telling name first.
_SAID = ("message", "error_description", "detail", "error_info", "error", "errors", "title")
_SECONDS = re.compile(r"\d{1,6}(?:\.\d{1,3})?")
_ID = re.compile(r"[A-Za-z0-9_=-]{1,100}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """``data`` is what the JSON body says, ``None`` where it is none. ``headers`` ignore case."""

    status: int
    data: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, where the CRM names a number of them."""
        said = self.headers.get("Retry-After", "")
        return float(said) if _SECONDS.fullmatch(said) else None

    @property
    def reason(self) -> str:
        """The CRM's own words, cut to one line, and how long it asks us to wait."""
        said = _words(self.data)
        wait = "" if self.retry_after is None else f", wait {self.retry_after:g} s"
        return f"the CRM answered {self.status}" + (f": {said[:200]}" if said else "") + wait


def _words(data: Any, depth: int = 3) -> str:
    """What an error body says, in the forms that CRMs use."""
    if isinstance(data, list):
        return _words(data[0], depth) if data else ""
    if isinstance(data, str):
        return " ".join(data.split())
    if not isinstance(data, dict) or not depth:
        return ""
    found = (_words(data.get(name), depth - 1) for name in _SAID)
    return next((words for words in found if words), "")


def new_session(pool: int = 32) -> Session:
    """A session that repeats nothing by itself and reads no proxy or .netrc of the host."""
    from requests import Session
    from requests.adapters import HTTPAdapter

    session = Session()
    session.trust_env = False
    session.headers["Accept"] = "application/json"
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=pool, max_retries=0))
    return session


def exchange(
    session: Session,
    method: str,
    url: str,
    *,
    timeout: float,
    params: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send once and read the whole answer within about ``timeout`` seconds.

    ``body`` travels as JSON, ``form`` as an HTML form does.

    Lets `requests.RequestException` through: what it means differs between a read and a write, so
    the connector translates it.
    """
    from requests import PreparedRequest

    deadline = time.monotonic() + timeout
    request = PreparedRequest()
    request.prepare(
        method=method,
        url=url,
        headers={**session.headers, **(headers or {})},
        data=form,
        json=body,
        params=params,
    )
    # Straight to the connection: what a session adds (cookies, redirects, the host's settings) is
    # not wanted here, and looking for it takes as long as the rest.
    adapter = session.get_adapter(url)
    with adapter.send(request, timeout=timeout, stream=True) as response:
        content = _content(response, deadline)
        return Answer(
            status=response.status_code,
            data=_json(content),
            headers=response.headers,
        )


def was_never_sent(error: Exception) -> bool:
    """Whether this failure of an exchange means that no connection came about."""
    from requests import ConnectTimeout
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    return isinstance(error, ConnectTimeout) or isinstance(
        cause, NewConnectionError | ConnectTimeoutError
    )


def path_of(template: str, **ids: str) -> str:
    """``template`` with its ids. Raises `NotFound` for an id that could change the path."""
    for value in ids.values():
        if not _ID.fullmatch(value):
            raise NotFound("that is no id of this CRM")
    return template.format(**{name: quote(value, safe="") for name, value in ids.items()})


def rejection(answer: Answer) -> Rejected:
    """What a refusal (3xx or 4xx) means: never sent again as it is."""
    return NotFound(answer.reason) if answer.status == 404 else Rejected(answer.reason)


# What reading a value of another shape than expected can raise.
_MISREAD = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, ValidationError)


@contextmanager
def understood() -> Iterator[None]:
    """`CRMUnavailable` for a 200 of a shape that this CRM does not give: it is not itself."""
    try:
        yield
    except _MISREAD as error:
        raise CRMUnavailable("the CRM's answer has an unknown form") from error


def scalar(value: Any) -> Scalar:
    """A CRM value as it travels here: what is no text, whole number or boolean becomes text."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_EXACT:
        return str(value)
    if value is None or isinstance(value, str | int | bool):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _content(response: Response, deadline: float) -> bytes:
    """The body. A body that drips in past the deadline is a time-out, a cut one a lost connection.

    It is read below ``requests``, whose time-out starts anew with every byte.
    """
    from requests import ConnectionError as ConnectionLost
    from requests import ReadTimeout
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    content = b""
    try:
        while part := response.raw.read1(65536, decode_content=True):
            content += part
            if len(content) > LARGEST_ANSWER or time.monotonic() > deadline:
                raise ReadTimeout("the answer is too long or too slow")
    except ReadTimeoutError as error:
        raise ReadTimeout(error) from error
    except HTTPError as error:
        raise ConnectionLost(error) from error
    return content


def _json(content: bytes) -> Any:
    try:
        return json.loads(content, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)
