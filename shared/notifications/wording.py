"""One message out of everything that one channel is to hear now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.notifications.channels import Kind
from shared.notifications.sending import Message, Tone

MOST_LINES = 20
TONES: dict[str, Tone] = {
    Kind.ALARM: "failure",
    Kind.DEAD_LETTER: "failure",
    Kind.CHANGE: "warning",
    Kind.EXPIRED: "warning",
    Kind.ALARM_OVER: "success",
}
WORST: tuple[Tone, ...] = ("failure", "warning", "info", "success")


def worded(rows: Sequence[Any], public_url: str) -> Message:
    """``rows`` are of the table ``notices``: one speaks for itself, several become a list."""
    tones = {TONES.get(row.kind, "info") for row in rows}
    tone = next(tone for tone in WORST if tone in tones)
    if len(rows) == 1:
        [row] = rows
        return Message(title=row.title, text=f"{row.text}\n{public_url}{row.path}", tone=tone)
    titles = {row.title for row in rows}
    shared_title = titles.pop() if len(titles) == 1 else "Countersign"
    lines = [_line(row, public_url, with_title=len(titles) > 0) for row in rows[:MOST_LINES]]
    if len(rows) > MOST_LINES:
        lines.append(f"… and {len(rows) - MOST_LINES} more: {public_url}/queue")
    return Message(title=f"{shared_title} ({len(rows)})", text="\n".join(lines), tone=tone)


def _line(row: Any, public_url: str, *, with_title: bool) -> str:
    words = f"{row.title}: {row.text}" if with_title else row.text
    return f"– {words}\n  {public_url}{row.path}"
