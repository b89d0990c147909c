"""Personal data planted wherever a request can hold it, and then looked for in every log."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import requests

from services.ingest.endpoints import Endpoints
from services.ingest.sources import SOURCES
from tests.hostile import wire
from tests.hostile.signing import Request, of_bytes, open_endpoints, signed
from tests.ingest import sealed
from tests.product import Product

COUNT = 200
PAGES = ("/sign-in", "/search?q=", "/stories/", "/entries/", "/raw/", "/queue?record=", "/cards/")
WAYS = ("header", "query", "body", "cut JSON", "unsigned", "form", "file name", "signed", "sealed")
_STREETS = ("Harbour Street", "Calle Mayor", "Lindenallee", "Rue des Lilas")


@dataclass(kw_only=True)
class Result:
    """``found`` names the way in and the log of each planted text that a log holds.

    ``accepted`` are requests with such a text that proved their sender and were taken.
    """

    planted: int = 0
    requests: int = 0
    accepted: int = 0
    lines: int = 0
    found: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        found = self.found if self.accepted else [*self.found, "nothing signed was accepted"]
        return found if self.lines and self.planted else [*found, "nothing was measured"]


def planted(number: int) -> str:
    """Names, mails, phones, card numbers, addresses and tokens take turns; each is unique."""
    chance = random.Random(f"planted-{number}")
    word = "".join(chance.choices("bcdfghjklmnpqrstvwxz", k=9))
    digits = "".join(chance.choices("0123456789", k=16))
    kinds = (
        f"{word.capitalize()} Q{word[::-1]}",
        f"{word}.{digits[:4]}@example.com",
        f"+1 202 {digits[:3]} {digits[3:7]}",
        f"4{digits[1:4]} {digits[4:8]} {digits[8:12]} {digits[12:]}",
        f"{digits[:3]} {_STREETS[number % 4]} {word}",
        f"whsec_{word}{digits}{word}",
        f"tok-{word}-{digits}",
        f"Bearer {word}{digits}",
    )
    return kinds[number % len(kinds)]


def leaks(product: Product, count: int = COUNT) -> Result:
    """Each text goes in by one way at every source, and into the pages."""
    endpoints = Endpoints(product.home().endpoints)
    if endpoints.find("zapier", "hostile") is None:
        open_endpoints(endpoints)
    result, ways = Result(), {}
    for number in range(count):
        text = planted(number)
        way = WAYS[number % len(WAYS)]
        ways[text] = way
        sources = list(SOURCES)
        for source in (sources[number % len(sources)], sources[(number * 7 + 3) % len(sources)]):
            for request in _requests(way, source, text, number):
                statuses = wire.say(product.port, wire.as_bytes(request))
                result.requests += 1
                is_signed = way in {"signed", "sealed"}
                result.accepted += is_signed and any(200 <= one < 300 for one in statuses)
        result.requests += _visit(product, text, number)
    time.sleep(2)
    result.planted = len(ways)
    logs = list(_logs(product))
    result.lines = sum(log.read_bytes().count(b"\n") for log in logs)
    result.found = found_in(product, ways)
    return result


def found_in(product: Product, ways: Mapping[str, str]) -> list[str]:
    """Which texts a log holds; ``ways`` names for each how it came in."""
    contents = {log.name: log.read_text("utf-8", "replace") for log in _logs(product)}
    return [
        f"{way}: {text!r} in {name}"
        for name, content in contents.items()
        for text, way in ways.items()
        if any(form in content for form in _forms(text))
    ]


def _forms(text: str) -> set[str]:
    return {text, quote(text), quote(text, safe=""), json.dumps(text)[1:-1], text.replace(" ", "+")}


def _logs(product: Product) -> Iterator[Path]:
    """What the processes said, and any file called a log that they keep."""
    yield from product.folder.glob("*.log")
    yield from (product.folder / "data").rglob("*.log")


def _requests(way: str, source: str, text: str, number: int) -> Iterator[Request]:
    now = int(time.time())
    good = signed(source, 8_000_000 + number, now)
    if way == "header":
        yield _like(good, headers={**good.headers, "X-Customer": text, "User-Agent": text})
        yield _like(good, headers=dict.fromkeys(good.headers, text))
    elif way == "query":
        yield _like(good, path=f"{good.path}?name={quote(text)}")
        yield _like(good, path=f"/hooks/{source}/{quote(text)}")
        yield _like(good, path=f"/hooks/{quote(text)}")
    elif way == "cut JSON":
        yield _like(good, body=b'{"name": "' + text.encode())
        yield from _of_bytes(source, b'{"name": "' + text.encode() + b'", \xff', number, now)
    elif way == "unsigned":
        yield _like(good, body=json.dumps({"name": text}).encode(), headers={})
    elif way == "form":
        form = f"name={quote(text)}&name=%ff{quote(text)}&{quote(text)}=1".encode()
        yield _like(good, body=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    elif way == "file name":
        body = (
            f'--b\r\nContent-Disposition: form-data; name="{text}"; filename="{text}.pdf"\r\n'
            f"Content-Type: {text}\r\n\r\n{text}\r\n"
        ).encode()
        headers = {**good.headers, "Content-Type": "multipart/form-data; boundary=b"}
        yield _like(good, body=body + b"--b--\r\n", headers=headers)
        yield _like(good, body=body, headers=headers)
    else:
        yield from _with_soundly_signed(source, text, number, now)


def _with_soundly_signed(source: str, text: str, number: int, now: int) -> Iterator[Request]:
    """What gets in and is read: as a value, as a kind, as a key, and as what must be an object."""
    for value in ({"name": text, text: text}, {"type": text, "data": text}, [text], text):
        if source in sealed.SOURCES:
            content = {"subject": text, "body-plain": text, "event": text, "from": text}
            body, headers = sealed.seal(source, content, 9_000_000 + number, now)
            yield Request(path=f"/hooks/{source}/hostile", body=body, headers=headers)
            return
        yield from _of_bytes(source, json.dumps(value).encode(), number, now)


def _of_bytes(source: str, body: bytes, number: int, now: int) -> Iterator[Request]:
    if source not in sealed.SOURCES:
        yield of_bytes(source, body, 9_000_000 + number, now)


def _like(request: Request, **changed: object) -> Request:
    return Request(**{**vars(request), **changed})  # type: ignore[arg-type]


def _visit(product: Product, text: str, number: int) -> int:
    """A page with the text in its address, and the sign-in form with it in every field."""
    page = PAGES[number % len(PAGES)]
    session = requests.Session()
    for method, path, data in (
        ("GET", f"{page}{quote(text)}", None),
        # A password is checked slowly on purpose, so not every text is one.
        ("POST", "/sign-in" if number % 8 == 0 else "/", {"name": text, "password": text}),
        ("POST", f"/api/search?q={quote(text)}", {"q": text}),
    ):
        session.request(
            method,
            product.url + path,
            data=data,
            headers={"Referer": f"{product.url}/?q={quote(text)}", "Cookie": f"s={quote(text)}"},
            timeout=10,
            allow_redirects=False,
        )
    return 3
