"""DATA_DIR of the embedded form: where everything lies, and what the first start makes."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.occupied import refuse_unfit
from shared.bus.transports.sqlite import url_of
from shared.crm.grant_settings import READ, WRITE
from shared.db import in_schema
from shared.disk import refuse_network_disk
from shared.errors import ConfigurationError
from shared.keys import load_public, make_key, write_secret
from shared.proof import VerifierKey
from shared.settings import setting

if TYPE_CHECKING:
    from shared.notifications.channels import Channels

SHIPPED_POLICY = Path(__file__).resolve().parent.parent / "deploy" / "policy.toml"
LOG_NAME = "countersign/log"
GRANT_KEYS = ("crm-read-grants", "crm-write-grants")
SIGNING_KEYS = ("decisions.ed25519", "checkpoints.ed25519", "ledger.key")
PASSED_ON = (
    "OPENAI_API_KEY",
    "OPENAI_API_KEY_FILE",
    "OPENAI_BASE_URL",
    "OPENAI_MODEL",
    "OPENAI_TIMEOUT",
    "OPENAI_CENTS_IN",
    "OPENAI_CENTS_OUT",
)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What `countersign run` and every other command understands."""

    data_dir: Path = setting("folder for everything that is kept", default=Path("data"))
    host: str = setting("address to listen on", default="127.0.0.1")
    port: int = setting("port of the pages and the hooks", default=8080)
    crm_port: int = setting("port of the demo CRM; 0 means PORT + 1", default=0)
    public_url: str = setting("address that senders and people use", default="")
    broker_url: str = setting(
        "another broker than the embedded one: pika://user:password@host/vhost",
        default="",
        secret=True,
    )
    web_workers: int = setting("web processes", default=2)
    web_threads: int = setting("threads of each web process", default=32)

    database_url: str = setting(
        "another database than the embedded one: postgresql+psycopg://user:password@host/name",
        default="",
        secret=True,
    )
    search_url: str = setting(
        "another search index than the embedded one: http[s]://user:password@host:port/name",
        default="",
        secret=True,
    )
    search_months: int = setting("months that search keeps; 0 keeps all", default=0)

    broker_management_url: str = setting(
        "RabbitMQ's management, to compare its bindings: http://user:password@host:15672",
        default="",
        secret=True,
    )
    notices_file: Path | None = setting(
        "channels of notices instead of DATA_DIR/notices.toml", default=None
    )
    notice_urls: str = setting(
        "addresses that are told everything, as apprise writes them", default="", secret=True
    )

    @property
    def is_loopback(self) -> bool:
        return self.host in {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True, kw_only=True)
class Installation:
    """The files of one installation."""

    root: Path
    run: RunSettings

    @property
    def is_on_one_machine(self) -> bool:
        """Whether it owns its keys and its processes; otherwise both are somebody else's."""
        return True

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def wake(self) -> Path:
        return self.root / "run"

    @property
    def bus_file(self) -> Path:
        return self.root / "bus.db"

    @property
    def bus_url(self) -> str:
        """The broker that was asked for; without one the embedded broker's file."""
        return self.run.broker_url or url_of(self.bus_file)

    @property
    def people(self) -> Path:
        return self.root / "people.toml"

    @property
    def endpoints(self) -> Path:
        return self.root / "endpoints.toml"

    @property
    def notices(self) -> Path:
        return (self.run.notices_file or self.root / "notices.toml").resolve()

    def channels(self) -> Channels:
        """Whom notices reach."""
        from shared.notifications.channels import Channels

        return Channels(file=self.notices, urls=self.run.notice_urls)

    @property
    def mailboxes(self) -> Path:
        return self.root / "mailboxes.toml"

    @property
    def policy(self) -> Path:
        return self.root / "policy.toml"

    def crms(self, *, write: bool) -> Path:
        """The CRM accounts of one side."""
        return self.root / f"crms.{'write' if write else 'read'}.toml"

    @property
    def public_url(self) -> str:
        return (self.run.public_url or f"http://{self._shown_host()}:{self.run.port}").rstrip("/")

    @property
    def crm_url(self) -> str:
        return f"http://127.0.0.1:{self.run.crm_port or self.run.port + 1}"

    def database(self, name: str) -> str:
        """A file for each service; in a database that was asked for, a schema for each."""
        if self.run.database_url:
            return in_schema(self.run.database_url, name)
        return self.embedded_database(name)

    def embedded_database(self, name: str) -> str:
        return f"sqlite:///{self.root / name}.db"

    @property
    def books(self) -> str:
        """All databases in one view, to be read only."""
        return self.run.database_url or f"sqlite:///{self.root}"

    @property
    def search_index(self) -> str:
        """The one that was asked for; without it the embedded one's file."""
        return self.run.search_url or self.embedded_database("search")

    def token(self, name: str) -> str:
        """The text of one token file in ``keys``."""
        return (self.keys / f"{name}.token").read_text().strip()

    @property
    def crm_webhook_secret(self) -> str:
        """What the demo CRM signs with, in the form of Standard Webhooks."""
        encoded = base64.b64encode(self.token("crm-webhook").encode()).decode()
        return f"whsec_{encoded}"

    @property
    def door_url(self) -> str:
        """Where a command on this machine reaches the front door."""
        return f"http://127.0.0.1:{self.run.port}"

    def demo_crm(self) -> Any:
        """The demo CRM's own database, for putting the samples back."""
        from services.demo_crm.app import create_app

        return create_app(self.root / "crm.db", self.token("crm-read"), self.token("crm-write"))

    def _shown_host(self) -> str:
        return "127.0.0.1" if self.run.host in {"0.0.0.0", "::"} else self.run.host  # noqa: S104

    def prepare(self) -> bool:
        """Make what is missing; returns whether this is the first start.

        Raises `ConfigurationError` for a folder that cannot be written or lies on a network disk,
        where an installation has lost a key, and where a restore did not end.
        """
        refuse_network_disk(self.root)
        refuse_unfit(self.root, on_servers=bool(self.run.database_url and self.run.broker_url))
        is_first = not self.people.exists()
        try:
            for folder in (self.root, self.keys, self.wake, self.raw):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_first:
                refuse_lost_keys(self.keys)
            self._make_secrets()
            if not self.policy.exists():
                shutil.copyfile(SHIPPED_POLICY, self.policy)
        except OSError as error:
            raise ConfigurationError(
                f"DATA_DIR {self.root} cannot be written ({error.strerror}): "
                "choose another folder or change its owner"
            ) from error
        return is_first

    def _make_secrets(self) -> None:
        make_keys(self.keys, self.endpoints)
        for name in ("crm-read", "crm-write", "crm-webhook", "metrics"):
            _make_secret(self.keys / f"{name}.token")
        for name in GRANT_KEYS:
            _make_secret(self.keys / f"{name}.key")

    def environment(self, service: str, role: str) -> dict[str, str]:
        """Exactly the variables that one part gets: ``role`` is ``web`` or ``worker``."""
        everyone = {"DATABASE_URL": self.database(service), "WAKE_DIR": str(self.wake)}
        side = self._frame() if role == "web" else {"BROKER_URL": self.bus_url}
        return {**everyone, **side, **self._own(service, role)}

    def _frame(self) -> dict[str, str]:
        return {
            "PUBLIC_URL": self.public_url,
            "PEOPLE_FILE": str(self.people),
            "SESSIONS_URL": self.database("sessions"),
            "METRICS_TOKEN_FILE": str(self.keys / "metrics.token"),
        }

    def _own(self, service: str, role: str) -> dict[str, str]:
        keys = str(self.keys)
        policy = {"POLICY_FILE": str(self.policy)}
        crm = {
            "CRM_URL": self.crm_url,
            "CRM_READ_TOKEN_FILE": str(self.keys / "crm-read.token"),
            "CRM_READ_GRANTS_URL": self.database(READ),
            "CRM_READ_GRANTS_KEY_FILE": str(self.keys / "crm-read-grants.key"),
        }
        crm |= self._given("CRMS_READ_FILE", self.crms(write=False))
        people = {"PEOPLE_FILE": str(self.people)}
        raw = {"RAW_DIR": str(self.raw)}
        management = {"BROKER_MANAGEMENT_URL": self.run.broker_management_url}
        status = {
            "BROKER_URL": self.bus_url,
            "CRM_PUBLIC_URL": self.crm_url,
            "DISK_DIR": str(self.root),
            "CLASSIFIER_DATABASE_URL": self.database("classifier"),
            **management,
        }
        log = {
            "SEARCH_URL": self.search_index,
            "SEARCH_MONTHS": str(self.run.search_months),
            "KEYS_DIR": keys,
            "RECONCILER_DATABASE_URL": self.books,
        }
        notices = {
            "PUBLIC_URL": self.public_url,
            "NOTICES_FILE": str(self.notices),
            "NOTICE_URLS": self.run.notice_urls,
        }
        table: Mapping[tuple[str, str], dict[str, str]] = {
            ("ingest", "web"): {
                **raw,
                "ENDPOINTS_FILE": str(self.endpoints),
                "KEYS_DIR": keys,
            },
            ("ingest", "worker"): {
                **raw,
                **policy,
                **notices,
                "MAILBOXES_FILE": str(self.mailboxes),
            },
            ("classifier", "worker"): {**policy, **crm, **_passed_on()},
            ("writer", "web"): {**policy, **crm, **people, "KEYS_DIR": keys},
            ("writer", "worker"): {
                **policy,
                **crm,
                **people,
                **notices,
                "KEYS_DIR": keys,
                "CRM_WRITE_TOKEN_FILE": str(self.keys / "crm-write.token"),
                **self._given("CRMS_WRITE_FILE", self.crms(write=True)),
                "CRM_WRITE_GRANTS_URL": self.database(WRITE),
                "CRM_WRITE_GRANTS_KEY_FILE": str(self.keys / "crm-write-grants.key"),
            },
            ("audit", "web"): {**log, **status},
            ("audit", "worker"): {**log, **policy, **notices, **management},
        }
        return table[service, role]

    def _given(self, variable: str, path: Path) -> dict[str, str]:
        """A file that an admin may write; nothing where there is none."""
        return {variable: str(path)} if path.exists() else {}


def _make_secret(path: Path) -> None:
    if not path.exists():
        write_secret(path, secrets.token_hex(32).encode())


def refuse_lost_keys(folder: Path) -> None:
    """A key made anew would leave the old log unreadable and its signatures unprovable."""
    lost = [name for name in SIGNING_KEYS if not (folder / name).exists()]
    if lost:
        raise ConfigurationError(
            f"missing in {folder}: {', '.join(lost)}. Restore them from a backup: without "
            "them nothing can be approved, sealed or read"
        )


def make_keys(folder: Path, endpoints: Path | None = None) -> None:
    """The keys that sign decisions and checkpoints, open the ledger and seal the secrets of
    endpoints, where missing.

    Where something in ``endpoints`` is sealed already, the key of that is lost and not made anew:
    a new one opens nothing, and whoever reads the file says so.
    """
    from services.ingest.sealing import holds_sealed, make_sealing_key

    for name in ("decisions", "checkpoints"):
        make_key(folder, name)
    if endpoints is None or not holds_sealed(endpoints):
        make_sealing_key(folder)
    ledger = folder / "ledger.key"
    if not ledger.exists():
        write_secret(ledger, secrets.token_bytes(32))
    # Handed out by name to the process that seals, so it is there before anything was changed.
    (folder / "checkpoints.changes").touch(mode=0o600)
    vkey = folder / "checkpoints.vkey"
    if not vkey.exists():
        public = load_public(folder / "checkpoints.pub").public_bytes_raw()
        vkey.write_text(f"{VerifierKey(name=LOG_NAME, public_key=public).text()}\n")


def _passed_on() -> dict[str, str]:
    """What the person who starts the product may hand to the model's client, and to it alone."""
    return {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}  # noqa: TID251


def installation(run: RunSettings) -> Installation:
    """The installation that these settings mean."""
    return Installation(root=run.data_dir.resolve(), run=run)
