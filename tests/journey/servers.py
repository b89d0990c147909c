"""RabbitMQ and PostgreSQL of one test run, with the passwords of an installation's secrets."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from tests.product import ROOT

SERVICES = ROOT / "deploy" / "dev" / "services"
NAMES = ("rabbitmq", "postgresql")


def _free_block() -> int:
    """RabbitMQ's port, such that those the script derives from it are free too."""
    while True:
        port = random.randrange(21000, 29000)
        wanted = (port, port + 1, port + 2, port + 20000, port + 20001)
        try:
            for one in wanted:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", one))
        except OSError:
            continue
        return port


@dataclass(kw_only=True)
class Servers:
    """Not started yet. ``secrets`` is the folder that `countersign secrets` fills."""

    folder: Path
    secrets: Path
    port: int = field(default_factory=_free_block)
    are_up: bool = False

    @property
    def addresses(self) -> dict[str, str]:
        """For `countersign secrets`."""
        return {
            "DATABASE_HOST": f"127.0.0.1:{self.port + 2}",
            "BROKER_HOST": f"127.0.0.1:{self.port}",
            "BROKER_CONF_DIR": str(self.secrets / "rabbitmq"),
        }

    def start(self) -> None:
        """As the images do it: RabbitMQ loads its definitions, PostgreSQL asks for passwords."""
        self._script("start", *NAMES)
        self._require_passwords()
        self.are_up = True

    def stop(self) -> None:
        if self.folder.exists():
            self._script("stop", *NAMES)
        self.are_up = False

    def control(self, *words: str) -> None:
        """``rabbitmqctl words…``."""
        script = (
            f'. {SERVICES.parent}/rabbitmq.sh; rabbitmq_env; "$(rabbitmq_bin)/rabbitmqctl" "$@"'
        )
        self._run("bash", "-euc", script, "rabbitmqctl", "-q", *words)

    def _script(self, *words: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder, *self.folder.parents):
            if os.geteuid() == 0 and folder.owner() == "root" and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)  # PostgreSQL runs as its own user.
        self._run(str(SERVICES), *words)

    def _run(self, *words: str) -> None:
        environ = {
            **os.environ,
            "SERVICES_DIR": str(self.folder),
            "RABBITMQ_PORT": str(self.port),
            "RABBITMQ_MANAGEMENT_PORT": str(self.port + 1),
            "POSTGRESQL_PORT": str(self.port + 2),
            "RABBITMQ_CONFIG_FILES": str(self.secrets / "rabbitmq" / "*.conf"),
        }
        with (self.folder / "script.log").open("ab") as log:
            done = subprocess.run(
                words,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=180,
                check=False,
            )
        if done.returncode:
            said = (self.folder / "script.log").read_text()
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no servers: {said[-2000:]}")

    def _require_passwords(self) -> None:
        """The image makes owner and database, and asks everybody who comes by TCP."""
        password = (self.secrets / "postgres" / "password").read_text()
        url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port + 2}/postgres"
        admin = create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as db:
            exists = db.exec_driver_sql(
                "SELECT FROM pg_roles WHERE rolname = 'countersign'"
            ).first()
            if exists is None:
                db.exec_driver_sql(f"CREATE ROLE countersign SUPERUSER LOGIN PASSWORD '{password}'")
                db.exec_driver_sql("CREATE DATABASE countersign OWNER countersign")
            hba = self.folder / "postgresql" / "data" / "pg_hba.conf"
            hba.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
            db.exec_driver_sql("SELECT pg_reload_conf()")
        admin.dispose()
