"""A permitted change is made in one place; every other path to a write is a mistake."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def constructions(path: Path) -> list[int]:
    """Lines on which ``Change(`` is called, under whatever module prefix."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "Change")
            or (isinstance(node.func, ast.Attribute) and node.func.attr == "Change")
        )
    ]


def test_a_change_is_written_in_the_gate_and_nowhere_else() -> None:
    found = {
        str(path.relative_to(ROOT)): len(lines)
        for folder in ("services", "shared")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := constructions(path))
    }
    assert found == {"services/writer/gate.py": 1}


def test_the_search_would_find_another_one(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("x = Change(id=1)\ny = change.Change(id=2)\n")
    assert constructions(planted) == [1, 2]
