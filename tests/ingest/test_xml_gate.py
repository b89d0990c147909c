"""The XML gate: plain documents are read, everything that reaches beyond them is refused."""

from __future__ import annotations

import time

import pytest

from services.ingest.xml_gate import MAX_ATTRIBUTES, MAX_DEPTH, MAX_ELEMENTS, parse_xml
from shared.errors import BadPayload

BOMB = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(10))


def test_names_texts_and_attributes_come_with_their_namespaces() -> None:
    root = parse_xml(
        b'<?xml version="1.0" encoding="utf-8"?><a xmlns="urn:a" xmlns:p="urn:p" p:q="1">'
        b"x<!-- not me -->y<p:b>&lt;&amp;&#x263A;</p:b><![CDATA[<z>]]></a>"
    )
    assert (root.name, root.local_name, root.text) == ("urn:a}a", "a", "xy<z>")
    assert root.attributes == {"urn:p}q": "1"}
    assert root.only("urn:p}b").text == "<&☺"
    with pytest.raises(BadPayload, match="exactly one"):
        root.only("urn:a}b")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no element"),
        (b"  ", "no element"),
        (b"{}", "not XML"),
        (b"<a>", "not XML"),
        (b"<a></b>", "not XML"),
        (b"<a/><a/>", "not XML"),
        (b"<a>&nbsp;</a>", "not XML"),
        (b"<a>&#0;</a>", "not XML"),
        (b"<a>&#xD800;</a>", "not XML"),
        (b"<a>\xff</a>", "not XML"),
        (b"<p:a/>", "not XML"),
        (b"<a b='1' b='2'/>", "not XML"),
        (b"<!DOCTYPE a><a/>", "document type"),
        (b"<!DOCTYPE a SYSTEM 'http://127.0.0.1/x'><a/>", "document type"),
        (b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "document type"),
        (f"<!DOCTYPE a [{BOMB}]><a>&l9;</a>".encode(), "document type"),
        (b"<?xml version='1.0'?><?go there?><a/>", "processing instruction"),
        (b"<?xml version='1.0' encoding='UTF-16'?><a/>", "UTF-8"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "UTF-8"),
        ("<a/>".encode("utf-16"), "UTF-8"),
        ("<!DOCTYPE a><a/>".encode("utf-16-be"), "UTF-8"),
        (b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1), "deeper"),
        (b"<a>" * 80_000, "deeper"),
        (b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>", "too many"),
        (
            b"<a " + b" ".join(b"a%d='1'" % n for n in range(MAX_ATTRIBUTES + 1)) + b"/>",
            "too many",
        ),
    ],
)
def test_what_is_no_plain_document_is_refused_by_rule(body: bytes, why: str) -> None:
    with pytest.raises(BadPayload, match=why):
        parse_xml(body)


def test_the_deepest_and_the_widest_document_that_is_allowed_is_read() -> None:
    parse_xml(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH)
    assert len(parse_xml(b"<a>" + b"<b/>" * (MAX_ELEMENTS - 1) + b"</a>").children) == 19_999


def test_a_quarter_of_a_mebibyte_of_anything_is_judged_at_once() -> None:
    size = 256 * 1024
    for piece in (b"<a ", b"<a>", b"<!--", b"<![CDATA[", b"&#x41;", b"<a b='", b"<?x ", b"]]>"):
        began = time.process_time()
        with pytest.raises(BadPayload):
            parse_xml((piece * size)[:size])
        assert time.process_time() - began < 1
