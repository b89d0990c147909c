from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from services.audit import commands
from tests.audit.book import Book, Customer, whole_story


@dataclass
class Home:
    """What a command needs of the installation."""

    folder: Path

    def environment(self, service: str, role: str) -> dict[str, str]:
        assert (service, role) == ("audit", "worker")
        return {
            "DATABASE_URL": f"sqlite:///{self.folder}/audit.db",
            "RECONCILER_DATABASE_URL": f"sqlite:///{self.folder}",
            "BROKER_URL": f"durable+sqlite:///{self.folder}/bus.db",
            "WAKE_DIR": str(self.folder),
            "PUBLIC_URL": "http://127.0.0.1:8080",
            "SEARCH_URL": f"sqlite:///{self.folder}/search.db",
            "KEYS_DIR": str(self.folder / "keys"),
        }


@pytest.fixture
def home(book: Book) -> Home:
    whole_story(book, Customer())
    book.index()
    return Home(book.folder)


def run(command: object, home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), obj=home)  # type: ignore[arg-type]


def test_verify_proves_the_log_by_the_independent_file(home: Home) -> None:
    result = run(commands.verify, home)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("OK.")


def test_verify_names_what_was_tampered_with_and_fails(home: Home) -> None:
    db = sqlite3.connect(home.folder / "audit.db")
    db.execute("UPDATE entries SET actor = 'person:mallory' WHERE seq = 4")
    db.commit()
    db.close()
    result = run(commands.verify, home)
    assert result.exit_code == 1
    assert "seq 4" in result.output


def test_reindex_gives_the_same_index(home: Home) -> None:
    result = run(commands.reindex, home)
    assert result.exit_code == 0, result.output
    assert "the same as before" in result.output


def test_export_says_how_to_check_it(home: Home, tmp_path: Path) -> None:
    result = run(commands.export, home, str(tmp_path / "out"), "--closed")
    assert result.exit_code == 0, result.output
    assert "verify.py" in result.output
    assert "jane" not in (tmp_path / "out" / "entries.jsonl").read_text().lower()
