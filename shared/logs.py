"""Structured logs: one event, one line, ids and digests only.

What others say in their exceptions and messages may repeat what came in, so of those the log has
the kind and the place alone; what looks like an address, a number or a secret is masked anywhere.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any

import structlog

from shared.errors import PipelineError

LEVEL = logging.INFO
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
MASK = "***"
_OURS = ("services.", "shared.")
_PERSONAL = re.compile(
    r"[^\s@\"'<>(),;:=/]+@[^\s@\"'<>(),;:/]+\.\w+"
    r"|\b(?:Bearer|Basic)\s+\S+|\b(?:whsec_|whpk_|whsk_|cs_|sk-)[\w+/=-]+"
    r"|(?<![\w.:-])\+?\(?\d(?:[ ()./-]?\d){8,}(?![\w:-])"
)
Event = MutableMapping[str, Any]


def configure_logs() -> None:
    """JSON lines on standard error; a person at a terminal gets them aligned and coloured.

    Whatever the libraries log, and what ends a thread, goes the same way.
    """
    is_terminal = sys.stderr.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _without_words_of_others,
            _masked_values,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVEL),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)
    threading.excepthook = lambda args: structlog.get_logger().error(
        "a thread ended", exc_info=args.exc_value
    )


def masked(text: str) -> str:
    """The text without e-mail addresses, long numbers and credentials."""
    return _PERSONAL.sub(MASK, text)


def told(error: BaseException) -> str:
    """The kinds and places of an exception and of its causes; words only where they are ours."""
    return "\n".join(line for one in _chain(error) for line in _lines(one))


def _chain(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    seen: set[int] = set()
    while following is not None and id(following) not in seen:
        yield following
        seen.add(id(following))
        following = following.__cause__ or following.__context__


def _lines(error: BaseException) -> Iterator[str]:
    words = f": {error}" if isinstance(error, PipelineError) else ""
    yield f"{type(error).__module__}.{type(error).__qualname__}{words}"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} {frame.name}"


def _without_words_of_others(_: Any, __: str, event: Event) -> Event:
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = told(error)
    return event


def _masked_values(_: Any, __: str, event: Event) -> Event:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = masked(value)
    return event


def _known(level: int) -> int:
    """The level, or of one that a library made up the next below: others cannot be written."""
    return max((known for known in _LEVELS if known <= level), default=logging.DEBUG)


class _Libraries(logging.Handler):
    """Their fixed words without what was put into them; none where that cannot be told apart."""

    def emit(self, record: logging.LogRecord) -> None:
        is_fixed = bool(record.args) or record.name.startswith(_OURS)
        log = structlog.get_logger()
        log.log(
            _known(record.levelno),
            str(record.msg) if is_fixed else "said by a library",
            logger=record.name,
            place=f"{record.module}:{record.lineno}",
            exc_info=record.exc_info if record.exc_info and record.exc_info[1] else None,
        )
