"""Every `countersign …` that a runbook or the README tells people to type is a real command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from services.__main__ import main
from tests.product import ROOT

PAPERS = [ROOT / "README.md", *sorted((ROOT / "deploy" / "runbooks").glob("*.md"))]
# In a block of shell, or between backticks; a line that ends in \ goes on.
TYPED = re.compile(r"(?:^\s*(?:\./)?|`(?:\./)?)countersign ([a-z][^`#\n|]*)", re.MULTILINE)


def commands_in(text: str) -> list[str]:
    return [found.strip() for found in TYPED.findall(re.sub(r"\\\n\s*", " ", text))]


def wrong_in(line: str) -> str | None:
    """What the command line does not know of these words."""
    words, command = shlex.split(line), main
    context = click.Context(main)
    while isinstance(command, click.Group):
        if not words:
            return None if command.invoke_without_command else f"{command.name}: which?"
        found = command.get_command(context, words[0])
        if found is None:
            return f"no command {words[0]}"
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    unknown = [word for word in words if word.startswith("--") and word not in known]
    needed = [p.name for p in command.params if p.required and isinstance(p, click.Argument)]
    given = [word for word in words if not word.startswith("-")]
    if len(given) < len(needed):
        return f"{command.name} needs {needed}"
    return f"{command.name} has no {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_what_a_paper_tells_to_type_exists(paper: Path) -> None:
    lines = commands_in(paper.read_text())
    wrong = {line: why for line in lines if (why := wrong_in(line))}
    assert wrong == {}


def test_the_papers_tell_to_type_something() -> None:
    found = [line for paper in PAPERS for line in commands_in(paper.read_text())]
    assert len(found) > 30
    assert any(line.startswith("restore ") and "--left-over" in line for line in found)


@pytest.mark.parametrize("line", ["dead lists", "backup", "restore x --key y", "nonsense"])
def test_a_mistake_would_be_found(line: str) -> None:
    assert wrong_in(line)
