"""HTML to the text a person would see; text that is hidden from people is dropped and reported."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SILENT = frozenset({"script", "style", "head", "title", "template", "noscript", "object", "svg"})
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
_BLOCKS = frozenset(
    {"address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "form", "h1"}
    | {"h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "ol", "p", "pre", "section", "table"}
    | {"tr", "ul"}
)
_HIDING = re.compile(
    r"display:none|visibility:hidden|opacity:0(?:\.0+)?(?:;|$)|font-size:0|max-height:0|"
    r"(?:^|;)(?:width|height):[01]?px|text-indent:-\d{3,}|left:-\d{3,}|top:-\d{3,}|"
    r"mso-hide:all|clip:rect\(0|(?:^|;)color:(?:transparent|white|#fff(?:fff)?(?:;|$))"
)
_SPACES = re.compile(r"[ \t\r\f\v\xa0]+")
_MANY_LINES = re.compile(r"\n\s*\n\s*\n+")
MAX_NESTING = 500


def visible_text(html: str) -> tuple[str, bool]:
    """The text without what no reader shows, and whether hidden text was among that."""
    reader = _Reader()
    try:
        reader.feed(html)
        reader.close()
    except AssertionError:
        # The library asserts on a broken marked section; what came before it is kept.
        reader.hidden_text = True
    text = "\n".join(line.strip() for line in "".join(reader.pieces).split("\n"))
    return _MANY_LINES.sub("\n\n", text).strip(), reader.hidden_text


class _Reader(HTMLParser):
    """``stack`` holds the open elements: the tag and whether it or a parent hides its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.hidden_text = False
        self.stack: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.pieces.append("\n")
        if tag in _VOID:
            return
        state = self.stack[-1][1] if self.stack else ""
        if not state and tag in _SILENT:
            state = "silent"
        elif not state and _is_hiding(dict(attrs)):
            state = "hidden"
        if len(self.stack) < MAX_NESTING:
            self.stack.append((tag, state))

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.pieces.append("\n")
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place][0] == tag:
                del self.stack[place:]
                return

    def handle_data(self, data: str) -> None:
        state = self.stack[-1][1] if self.stack else ""
        if state == "hidden" and data.strip():
            self.hidden_text = True
        if not state:
            self.pieces.append(_SPACES.sub(" ", data.replace("\n", " ")))


def _is_hiding(attrs: dict[str, str | None]) -> bool:
    if "hidden" in attrs or attrs.get("aria-hidden") == "true":
        return True
    style = re.sub(r"\s+|!important", "", (attrs.get("style") or "").lower())
    return bool(_HIDING.search(style))
