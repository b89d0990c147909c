"""The strict XML gate for SOAP: no document type, no entities of its own, limits before meaning.

SOAP 1.1 §3 forbids document types and processing instructions. The parser expands only the five
named entities of XML and character references, and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from shared.errors import BadPayload

MAX_DEPTH = 32
MAX_ELEMENTS = 20_000
MAX_ATTRIBUTES = 64


@dataclass(frozen=True, kw_only=True)
class Element:
    """``name`` and the names of attributes are ``namespace}local``, or ``local`` without one.

    ``text`` is all text directly inside it.
    """

    name: str
    attributes: Mapping[str, str]
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def local_name(self) -> str:
        return self.name.rpartition("}")[2]

    def all(self, name: str) -> Iterator[Element]:
        """The children of this name."""
        return (child for child in self.children if child.name == name)

    def only(self, name: str) -> Element:
        """Raises `BadPayload` unless there is exactly one child of this name."""
        found = list(self.all(name))
        if len(found) != 1:
            raise BadPayload(f"the body must have exactly one {name.rpartition('}')[2]}")
        return found[0]


def parse_xml(body: bytes) -> Element:
    """The root element. Raises `BadPayload` saying which rule is broken, never repeating input."""
    if body.startswith((b"\xfe\xff", b"\xff\xfe")) or b"\x00" in body:
        raise BadPayload("the body is not UTF-8")
    builder = _Builder()
    parser = expat.ParserCreate(encoding="UTF-8", namespace_separator="}")
    parser.buffer_text = True
    parser.XmlDeclHandler = builder.declaration
    parser.StartDoctypeDeclHandler = _no_document_type
    parser.EntityDeclHandler = _no_document_type
    parser.ProcessingInstructionHandler = _no_instruction
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.characters
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise BadPayload(f"the body is not XML: {expat.ErrorString(error.code)}") from error
    if builder.root is None:
        raise BadPayload("the body is not XML: no element found")
    return builder.root


class _Builder:
    """Puts the elements together as the parser meets them."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":
            raise BadPayload("the body is not UTF-8")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(attributes) > MAX_ATTRIBUTES:
            raise BadPayload("the body has too many elements or attributes")
        if len(self._open) >= MAX_DEPTH:
            raise BadPayload(f"the body is nested deeper than {MAX_DEPTH}")
        element = Element(name=name, attributes=attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        self._open[-1].texts.append(text)


def _no_document_type(*_: object) -> NoReturn:
    raise BadPayload("a document type declaration is not allowed")


def _no_instruction(*_: object) -> NoReturn:
    raise BadPayload("a processing instruction is not allowed")
