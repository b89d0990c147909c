"""HTML to the text a person would see; text that is hidden from people is dropped and reported.

A reader of our own, since the standard library's takes time that grows with the square of the
input: one hostile mail of a megabyte would hold the relay for minutes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape

MAX_HTML = 1024 * 1024
MAX_TAG = 4096
MAX_BROKEN_TAGS = 1000
MAX_NESTING = 500

_RAW = frozenset({"script", "style", "title", "textarea", "noscript", "template", "svg"})
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
_BLOCKS = frozenset(
    {"address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "form", "h1"}
    | {"h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "ol", "p", "pre", "section", "table"}
    | {"tr", "ul"}
)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:-]{0,40})((?:[^\"'<>]|\"[^\"]*\"|'[^']*')*)>")
_STYLE = re.compile(r"""(?i)\bstyle\s*=\s*("[^"]*"|'[^']*'|\S+)""")
_HIDDEN = re.compile(
    r"""(?i)(?:^|\s)hidden(?:\s|=|/|$)|\baria-hidden\s*=\s*["']?true|"""
    r"""(?:^|\s)color\s*=\s*["']?(?:white|#fff(?:fff)?)(?:["'\s]|$)"""
)
_HIDING = re.compile(
    r"display:none|visibility:hidden|opacity:0(?:\.0+)?(?:;|$)|font-size:0|max-height:0|"
    r"(?:^|;)(?:width|height):[01]?px|text-indent:-\d{3,}|left:-\d{3,}|top:-\d{3,}|"
    r"mso-hide:all|clip:rect\(0|(?:^|;)color:(?:transparent|white|#fff(?:fff)?(?:;|$))"
)
_UNSEEN = re.compile(r"\s+|!important|/\*.*?\*/")
_CELLS = frozenset({"td", "th"})
_SPACES = re.compile(r"[\s\xa0]+")


def visible_text(html: str) -> tuple[str, bool]:
    """The text without what no reader shows, and whether hidden text was among that.

    Cells of a table stand in one line with a tab between them.
    Only the first `MAX_HTML` characters are read. Never raises; time grows with the length.
    """
    reader = _Reader(html=html[:MAX_HTML])
    reader.read()
    lines = [_cells(line) for line in "".join(reader.pieces).split("\n")]
    return _without_gaps(lines), reader.has_hidden_text


def _cells(line: str) -> str:
    cells = (_SPACES.sub(" ", cell).strip() for cell in line.split("\t"))
    return "\t".join(cell for cell in cells if cell)


def _without_gaps(lines: list[str]) -> str:
    """At most one empty line between two others."""
    kept = [line for place, line in enumerate(lines) if line or (place and lines[place - 1])]
    return "\n".join(kept).strip()


@dataclass(kw_only=True)
class _Reader:
    """``stack`` holds the open elements: the tag, and whether it or a parent hides its text."""

    html: str
    pieces: list[str] = field(default_factory=list)
    stack: list[tuple[str, bool]] = field(default_factory=list)
    has_hidden_text: bool = False
    broken: int = 0

    def read(self) -> None:
        place = 0
        while place < len(self.html):
            start = self.html.find("<", place)
            if start < 0 or self.broken > MAX_BROKEN_TAGS:
                self._text(self.html[place:])
                return
            self._text(self.html[place:start])
            place = self._markup(start)

    def _markup(self, start: int) -> int:
        """Read what begins with ``<`` at ``start``; returns where to go on."""
        if self.html.startswith("<!--", start):
            return self._behind("-->", start)
        if self.html.startswith(("<!", "<?"), start):
            return self._behind(">", start)
        tag = _TAG.match(self.html, start, start + MAX_TAG)
        if tag is None:
            self.broken += 1
            self._text("<")
            return start + 1
        name = tag[2].lower()
        if tag[1]:
            self._close(name)
            return tag.end()
        if name in _RAW:
            return self._behind_raw(name, tag.end())
        self._open(name, tag[3])
        return tag.end()

    def _behind(self, mark: str, start: int) -> int:
        """Where a comment or declaration ends; an open one hides all the rest."""
        end = self.html.find(mark, start)
        return len(self.html) if end < 0 else end + len(mark)

    def _behind_raw(self, name: str, start: int) -> int:
        end = re.compile(f"</{name}", re.IGNORECASE).search(self.html, start)
        return len(self.html) if end is None else self._behind(">", end.start())

    def _open(self, name: str, attributes: str) -> None:
        if name in _BLOCKS:
            self.pieces.append("\n")
        if name in _CELLS:
            self.pieces.append("\t")
        if name not in _VOID and len(self.stack) < MAX_NESTING:
            self.stack.append((name, self._is_hiding() or _hides(attributes)))

    def _close(self, name: str) -> None:
        if name in _BLOCKS:
            self.pieces.append("\n")
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place][0] == name:
                del self.stack[place:]
                return

    def _is_hiding(self) -> bool:
        return bool(self.stack) and self.stack[-1][1]

    def _text(self, text: str) -> None:
        if self._is_hiding():
            self.has_hidden_text = self.has_hidden_text or bool(unescape(text).strip())
        elif text:
            self.pieces.append(_SPACES.sub(" ", unescape(text)))


def _hides(attributes: str) -> bool:
    if _HIDDEN.search(attributes):
        return True
    style = _STYLE.search(attributes)
    return bool(style and _HIDING.search(_UNSEEN.sub("", unescape(style[1]).lower()).strip("\"'")))
