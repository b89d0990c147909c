"""The processes of the distributed form: the table of who runs what and is given what.

`docker-compose.yml`, the Kubernetes manifests, `deploy/env/*.env.example` and the secrets that
`countersign secrets` makes are all held to it. ``python -m services.processes FOLDER`` writes the
examples anew.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.audit.service import Settings as AuditWeb
from services.audit.service import WorkerSettings as AuditWorker
from services.classifier.service import WorkerSettings as ClassifierWorker
from services.elsewhere import OPS
from services.ingest.service import WebSettings as IngestWeb
from services.ingest.service import WorkerSettings as IngestWorker
from services.place import Place
from services.preparing import SetupSettings
from services.secret_files import SecretsSettings
from services.serving import CrmSettings, PoolSettings
from services.webs import DemoSettings, FrameSettings
from services.whole import WholeSettings
from services.writer.service import WebSettings as WriterWeb
from services.writer.service import WorkerSettings as WriterWorker
from shared.settings import REQUIRED

WEB_SETTINGS: Final = (PoolSettings, FrameSettings, Place)
DOOR: Final = "nginx"
LISTENERS: Final[Mapping[str, tuple[str, ...]]] = {
    "edge-ingest": ("ingest-web", DOOR),
    "edge-writer": ("writer-web", DOOR),
    "edge-audit": ("audit-web", DOOR),
    "edge-crm": ("demo-crm", DOOR),
    "database": ("postgres",),
    "broker": ("rabbitmq",),
    "search": ("elasticsearch",),
    "crm": ("demo-crm",),
}
"""Who listens on each inner network; everybody else on it only calls. The door is on each edge."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """``settings`` together are its whole environment, ``keys`` the files in its ``KEYS_DIR``.

    ``reaches`` names the networks it is on: those of `LISTENERS` (a web process shares its
    ``edge-…`` with the front door alone) and ``outside``. ``writes`` and ``reads`` are the shared
    folders, by the setting that names them.
    """

    name: str
    command: tuple[str, ...]
    settings: tuple[type, ...]
    reaches: frozenset[str] = frozenset()
    keys: tuple[str, ...] = ()
    writes: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()

    @property
    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """Every setting once, by variable name."""
        found: dict[str, dataclasses.Field[Any]] = {}
        for cls in self.settings:
            for field in dataclasses.fields(cls):
                found.setdefault(field.name.upper(), field)
        return found

    @property
    def secrets(self) -> set[str]:
        """The variables that are given as files: ``<NAME>_FILE``."""
        return {name for name, field in self.fields.items() if field.metadata["secret"]}

    @property
    def is_web(self) -> bool:
        return self.command[0] == "serve"


PROCESSES: Final = (
    Process(
        name="ingest-web",
        command=("serve", "ingest"),
        settings=(*WEB_SETTINGS, IngestWeb, DemoSettings),
        reaches=frozenset({"edge-ingest", "database"}),
        keys=("endpoints.key",),
        writes=frozenset({"ENDPOINTS_FILE", "RAW_DIR"}),
        reads=frozenset({"PEOPLE_FILE"}),
    ),
    Process(
        name="ingest-worker",
        command=("work", "ingest"),
        settings=(IngestWorker,),
        reaches=frozenset({"database", "broker"}),
        writes=frozenset({"RAW_DIR"}),
    ),
    Process(
        name="classifier-worker",
        command=("work", "classifier"),
        settings=(ClassifierWorker,),
        reaches=frozenset({"database", "broker", "crm", "outside"}),
        reads=frozenset({"POLICY_FILE"}),
    ),
    Process(
        name="writer-web",
        command=("serve", "writer"),
        settings=(*WEB_SETTINGS, WriterWeb),
        reaches=frozenset({"edge-writer", "database", "crm", "outside"}),
        keys=("decisions.ed25519",),
        writes=frozenset({"PEOPLE_FILE"}),
    ),
    Process(
        name="writer-worker",
        command=("work", "writer"),
        settings=(WriterWorker,),
        reaches=frozenset({"database", "broker", "crm", "outside"}),
        keys=("decisions.pub", "checkpoints.vkey"),
        reads=frozenset({"PEOPLE_FILE", "POLICY_FILE"}),
    ),
    Process(
        name="audit-web",
        command=("serve", "audit"),
        settings=(*WEB_SETTINGS, AuditWeb),
        reaches=frozenset({"edge-audit", "database", "broker", "search"}),
        keys=("ledger.key", "checkpoints.vkey"),
        reads=frozenset({"PEOPLE_FILE"}),
    ),
    Process(
        name="audit-worker",
        command=("work", "audit"),
        settings=(AuditWorker,),
        reaches=frozenset({"database", "broker", "search"}),
        keys=(
            "ledger.key",
            "checkpoints.changes",
            "checkpoints.ed25519",
            "checkpoints.vkey",
        ),
    ),
    Process(
        name="demo-crm",
        command=("serve", "demo-crm"),
        settings=(CrmSettings,),
        reaches=frozenset({"edge-crm", "crm"}),
        writes=frozenset({"CRM_FILE"}),
    ),
    Process(
        name="secrets",
        command=("secrets",),
        settings=(SecretsSettings,),
        writes=frozenset({"SECRETS_DIR"}),
    ),
    Process(
        name="setup",
        command=("setup",),
        settings=(SetupSettings,),
        reaches=frozenset({"database", "broker", "search"}),
        keys=("endpoints.key",),
        writes=frozenset({"PEOPLE_FILE", "ENDPOINTS_FILE", "POLICY_FILE"}),
    ),
    # Never started by itself: whoever runs a command in it lends it a whole installation for that.
    Process(
        name=OPS,
        command=("--help",),
        settings=(WholeSettings,),
        reaches=frozenset({"database", "broker", "search"}),
        keys=(
            "checkpoints.changes",
            "checkpoints.ed25519",
            "checkpoints.pub",
            "checkpoints.vkey",
            "decisions.pub",
            "ledger.key",
        ),
        writes=frozenset({"PEOPLE_FILE", "ENDPOINTS_FILE", "POLICY_FILE", "RAW_DIR"}),
    ),
)


def calls() -> set[tuple[str, str]]:
    """Who may open a connection to whom, inside: everything that is not here must fail."""
    on = {process.name: process.reaches for process in PROCESSES}
    on[DOOR] = frozenset(name for name, who in LISTENERS.items() if DOOR in who)
    return {
        (name, listener)
        for name, networks in on.items()
        for network in networks & LISTENERS.keys()
        for listener in LISTENERS[network]
        if listener != name
    }


def holders(name: str) -> list[str]:
    """The processes that are given the setting ``name``."""
    return [one.name for one in PROCESSES if name.upper() in one.fields]


def example(process: Process) -> str:
    """What stands in ``deploy/env/<process>.env.example``: every variable, said in words."""
    return "\n".join(
        (f"# {process.name}: countersign {' '.join(process.command)}", *_lines(process))
    )


def _lines(process: Process) -> Iterator[str]:
    for name, field in sorted(process.fields.items()):
        is_required = field.default is REQUIRED
        yield f"\n# {field.metadata['help']}{' (required)' if is_required else ''}"
        given = "" if is_required or field.default in {None, ""} else str(field.default)
        shown = (
            f"{name}_FILE=/run/secrets/{name.lower()}"
            if name in process.secrets
            else f"{name}={given}"
        )
        yield shown if is_required else f"#{shown}"
    yield ""


if __name__ == "__main__":
    for one in PROCESSES:
        Path(sys.argv[1], f"{one.name}.env.example").write_text(example(one), encoding="utf-8")
