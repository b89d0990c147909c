"""Setting endpoints up: each act changes the file and tells the log, from a page or a command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.ingest.deps import WebDeps
from services.ingest.endpoints import new_name, new_secret
from services.ingest.hook import Endpoint
from services.ingest.retention import LONGEST, SHORTEST, keep_for
from services.ingest.source import Source
from services.ingest.states import known_source, source_named
from shared.domain import ids
from shared.domain.topics import Topic
from shared.errors import BadPayload
from shared.outbox import Outbox, Unit

LONGEST_SECRET = 8000


@dataclass(frozen=True, kw_only=True)
class Opened:
    """``secret`` is shown this once, where we made it; ``None`` where the vendor makes it."""

    endpoint: Endpoint
    secret: str | None = field(default=None, repr=False)


def open_endpoint(
    deps: WebDeps,
    source_name: str,
    *,
    actor: str,
    name: str = "",
    secret: str = "",
    secret_files: Sequence[str] = (),
    public_url: str = "",
    options: Mapping[str, str] | None = None,
) -> Opened:
    """A new endpoint. Without a secret one is made, unless it is the vendor who makes it.

    Raises `NotFound`, `Conflict` or `BadPayload`.
    """
    source = source_named(source_name)
    given = _checked_secret(secret)
    made = None if given or secret_files else _made(source)
    chosen = Endpoint(source=source_name, name=name or new_name(source_name))
    with _changing(deps, source, actor) as change:
        change.tell(chosen.name, "opened", f"the address {chosen.path} takes requests")
        endpoint = deps.endpoints.add(
            source_name,
            chosen.name,
            secrets=tuple(filter(None, (given, made))),
            secret_files=secret_files,
            public_url=_checked_url(public_url),
            options=source.setup.checked(options or {}),
        )
    return Opened(endpoint=endpoint, secret=made)


def rotate_secret(
    deps: WebDeps,
    source_name: str,
    name: str,
    *,
    actor: str,
    secret: str = "",
    newest: str | None = None,
) -> Opened:
    """A new secret; the one before stays valid too.

    A secret of the vendor's making has to be given; one that is the newest already changes
    nothing. ``newest`` is the mark of the newest secret when the form was made, so that a form that
    is sent twice rotates once: as a second rotation it would end the secret that is in use.

    Raises `NotFound`, `BadPayload` or `Conflict`.
    """
    source = source_named(source_name)
    given = _checked_secret(secret)
    if source.setup.made_by == "vendor" and not given:
        raise BadPayload(f"{source.title} makes the secret: enter it here ({source.setup.form}).")
    if given and (found := deps.endpoints.find(source_name, name)) and given in found.secrets[:1]:
        return Opened(endpoint=found)
    made = None if given else new_secret(source_name)
    with _changing(deps, source, actor) as change:
        change.tell(name, "rotated", "a new secret is valid, beside the one before")
        endpoint = deps.endpoints.rotate(source_name, name, secret=given or made, newest=newest)
    return Opened(endpoint=endpoint, secret=made)


def drop_secret(deps: WebDeps, source_name: str, name: str, mark: str, *, actor: str) -> None:
    """A secret opens nothing any more. Raises `NotFound`."""
    with _changing(deps, source_named(source_name), actor) as change:
        change.tell(name, "dropped", f"the secret {mark} is not valid any more")
        deps.endpoints.drop(source_name, name, mark)


def configure(
    deps: WebDeps,
    source_name: str,
    name: str,
    *,
    actor: str,
    options: Mapping[str, str],
    public_url: str,
) -> None:
    """Other options. Raises `NotFound`, or `BadPayload` naming the option."""
    source = source_named(source_name)
    checked = source.setup.checked(options)
    with _changing(deps, source, actor) as change:
        change.tell(name, "configured", f"set are {', '.join(checked) or 'no options'}")
        deps.endpoints.configure(
            source_name, name, options=checked, public_url=_checked_url(public_url)
        )


def remove_endpoint(deps: WebDeps, source_name: str, name: str, *, actor: str) -> None:
    """The address is there no more. Raises `NotFound`."""
    with _changing(deps, source_named(source_name), actor) as change:
        change.tell(name, "removed", "its address answers 404")
        deps.endpoints.remove(source_name, name)


def keep_raw(deps: WebDeps, source_name: str, days: int, *, actor: str) -> None:
    """How long raw bytes of a source are kept, those that are there too.

    Raises `NotFound` or `BadPayload`.
    """
    source = known_source(source_name)
    if not SHORTEST <= days <= LONGEST:
        raise BadPayload(f"Raw bytes can be kept for {SHORTEST} to {LONGEST} days.")
    with _changing(deps, source, actor) as change:
        keep_for(change.unit.db, source, days)
        change.tell(None, "retention", f"raw bytes are kept for {days} days")


@dataclass(frozen=True, kw_only=True)
class _Change:
    unit: Unit
    outbox: Outbox
    source: Source
    actor: str

    def tell(self, name: str | None, action: str, detail: str) -> None:
        body = {"source": self.source.name, "endpoint": name, "action": action, "detail": detail}
        subject = f"source/{self.source.name}{f'/{name}' if name else ''}"
        message = self.unit.publish(
            Topic.SOURCE_CHANGED, body, subject=subject, actor=self.actor, key=ids.fresh()
        )
        self.outbox.add(self.unit.db, [message])


@contextmanager
def _changing(deps: WebDeps, source: Source, actor: str) -> Iterator[_Change]:
    """The file is written inside the transaction and after the message: what cannot be put down
    for the log is not done. Only where the commit itself fails the file is changed already, and
    nobody has told the log.
    """
    with deps.unit_of_work.begin() as unit:
        yield _Change(unit=unit, outbox=deps.outbox, source=source, actor=actor)


def _made(source: Source) -> str | None:
    return new_secret(source.name) if source.setup.made_by == "us" else None


def _checked_secret(secret: str) -> str:
    text = secret.strip()
    if len(text) > LONGEST_SECRET:
        raise BadPayload(f"A secret has at most {LONGEST_SECRET} characters.")
    return text


def _checked_url(url: str) -> str | None:
    text = url.strip()
    if not text:
        return None
    if not text.startswith(("https://", "http://")) or len(text) > 500 or "?" in text:
        raise BadPayload("The public address begins with https:// and has no question mark.")
    return text
