"""The import walls of the design, and what the web process may not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_import_contracts_hold() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    run = subprocess.run(
        [lint],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert run.returncode == 0, run.stdout


HEAVY = (
    *("openai", "elasticsearch", "requests", "pika", "kombu", "alembic", "phonenumbers", "psycopg"),
    *("apprise", "imap_tools", "holidays", "argon2", "environs", "email_validator", "granian"),
)
AFTER_THE_FORK = """
import sys
from pathlib import Path
from services.installation import Installation, RunSettings

home = Installation(root=Path(sys.argv[1]), run=RunSettings())
home.prepare()
from services import embedded, webs, wiring
embedded.prepare_databases(home)
webs.load(webs.WEB_SERVICES)
before = set(sys.modules)
wiring.web_application(home)
print([m for m in sys.modules if m not in before and m.startswith(("services.", "shared."))])
"""


def said(code: str, *words: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def test_the_ingest_web_process_loads_nothing_heavy() -> None:
    code = "import sys, services.ingest.service, shared.web; "
    assert said(f"{code} print([m for m in {HEAVY!r} if m in sys.modules])") == "[]"


def test_the_parent_of_the_web_processes_loads_nothing_heavy_that_they_do_not_need() -> None:
    heavy = set(HEAVY) - {"environs"}  # It has read the settings.
    code = (
        "import sys, services.__main__, services.embedded, services.webs as webs; "
        "webs.load(webs.WEB_SERVICES); "
        f"print(sorted(m for m in {heavy!r} if m in sys.modules))"
    )
    assert said(code) == "['kombu']"


def test_web_processes_find_everything_of_ours_imported_by_their_parent(tmp_path: Path) -> None:
    assert said(AFTER_THE_FORK, str(tmp_path)) == "[]"
