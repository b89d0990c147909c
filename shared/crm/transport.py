"""One HTTP exchange with a CRM: a deadline for the whole of it, no redirects, strict JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from shared.domain.schema import Scalar
from shared.errors import CRMUnavailable, NotFound, Rejected

if TYPE_CHECKING:
    from requests import Response, Session

LARGEST_ANSWER = 8 * 1024 * 1024
_LARGEST_EXACT = 2**53
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """``data`` is ``None`` where the body is no JSON object."""

    status: int
    data: dict[str, Any] | None
    retry_after: str | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def reason(self) -> str:
        """The CRM's own words, cut to one line."""
        error = (self.data or {}).get("error")
        said = error.get("message") if isinstance(error, dict) else None
        return f"the CRM answered {self.status}" + (f": {str(said)[:200]}" if said else "")


def new_session(token: str, pool: int = 32) -> Session:
    """A session that repeats nothing by itself and reads no proxy or .netrc of the host."""
    from requests import Session
    from requests.adapters import HTTPAdapter

    session = Session()
    session.trust_env = False
    session.headers.update({"Authorization": f"Bearer {token}", "Accept": "application/json"})
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
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send once and read the whole answer within about ``timeout`` seconds.

    Lets `requests.RequestException` through: what it means differs between a read and a write, so
    the connector translates it.
    """
    deadline = time.monotonic() + timeout
    with session.request(
        method,
        url,
        params=params,
        json=body,
        headers=headers,
        timeout=timeout,
        allow_redirects=False,
        stream=True,
    ) as response:
        content = _content(response, deadline)
        return Answer(
            status=response.status_code,
            data=_object(content),
            retry_after=response.headers.get("Retry-After"),
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


@contextmanager
def understood() -> Iterator[None]:
    """`CRMUnavailable` for a 200 of a shape that this CRM does not give: it is not itself."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
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


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(content, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(constant)
