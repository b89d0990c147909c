"""`countersign secrets`: every password, token and key, in a folder for each process.

What is made lies in ``made`` and is never made anew; from it each process gets the files that the
table in `services.processes` names, and each server its own. Nothing here talks to anybody.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.rights import OWNER
from shared.crm.sealing import next_keys
from shared.errors import ConfigurationError
from shared.keys import replace_file
from shared.settings import setting

if TYPE_CHECKING:
    from services.processes import Process

MADE: Final = "made"
TEXTS: Final = "texts.json"
NOTHING: Final[Callable[[Path], object]] = lambda _: None  # noqa: E731 - a name for doing nothing
SEARCH_USER: Final = "elastic"
ROLE: Final = "role "
BROKER: Final = "broker "
TOKENS: Final = (
    "crm-read",
    "crm-write",
    "crm-webhook",
    "metrics",
    "crm-read-grants",
    "crm-write-grants",
)
SERVER_UIDS: Final = {"postgres": 999, "rabbitmq": 999, "elasticsearch": 1000}
"""The users that the official images run their servers as."""


@dataclass(frozen=True, kw_only=True)
class SecretsSettings:
    """Where secrets go, and the addresses that stand in them."""

    secrets_dir: Path = setting("folder that gets a folder for each process and server")
    process_uid: int = setting("user that our processes run as", default=10001)
    database_host: str = setting("PostgreSQL", default="postgres:5432")
    database_name: str = setting("its database", default="countersign")
    broker_host: str = setting("RabbitMQ", default="rabbitmq:5672")
    broker_vhost: str = setting("its virtual host", default="countersign")
    broker_conf_dir: str = setting(
        "where the broker sees its folder", default="/etc/rabbitmq/conf.d"
    )
    search_host: str = setting(
        "Elasticsearch, and the name of the index", default="elasticsearch:9200/countersign"
    )


Texts = Mapping[str, str]


def make_secrets(settings: SecretsSettings, *, renew: Callable[[Path], object] = NOTHING) -> int:
    """Make what is missing and hand it out; returns how many files were written anew.

    ``renew`` may do something to the folder of what was made. Raises `ConfigurationError` where a
    key was lost or the folder cannot be written.
    """
    try:
        texts = _made(settings.secrets_dir / MADE, renew)
        written = 0
        # Whoever checks signatures knows a new key before anybody signs with it.
        for folder, name, content in sorted(_files(settings, texts), key=_is_signing_key):
            place = settings.secrets_dir / folder
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _put(place / name, content):
                written += 1
                _hand_over(place / name, _uid(settings, folder))  # It may be read this moment.
        for place in settings.secrets_dir.iterdir():
            if place.is_dir() and place.name != MADE:
                place.chmod(0o700)
                for path in (place, *place.iterdir()):
                    _hand_over(path, _uid(settings, place.name))
    except OSError as error:
        raise ConfigurationError(
            f"SECRETS_DIR {settings.secrets_dir} cannot be written ({error.strerror})"
        ) from error
    return written


def _is_signing_key(file: tuple[str, str, bytes]) -> bool:
    return file[1].endswith(".ed25519")


def _renew_text(made: Path, *, name: str, renewed: Callable[[str], str]) -> None:
    file = made / TEXTS
    texts = json.loads(file.read_text(encoding="utf-8"))
    _put(file, json.dumps({**texts, name: renewed(texts[name])}))


def _renew_passwords(made: Path, is_meant: Callable[[str], bool]) -> None:
    """The newest first; the one before stays until the next time, for a server not told yet."""
    file = made / TEXTS
    texts = json.loads(file.read_text(encoding="utf-8"))
    renewed = {
        name: f"{secrets.token_hex(32)}\n{_newest(text)}"
        for name, text in texts.items()
        if is_meant(name)
    }
    _put(file, json.dumps({**texts, **renewed}))


def _newest(passwords: str) -> str:
    return passwords.partition("\n")[0]


RENEW_TEXTS: Final[Mapping[str, Callable[[Path], object]]] = {
    "metrics": partial(_renew_text, name="metrics", renewed=lambda _: secrets.token_hex(32)),
    "crm-read-grants": partial(_renew_text, name="crm-read-grants", renewed=next_keys),
    "crm-write-grants": partial(_renew_text, name="crm-write-grants", renewed=next_keys),
    "database": lambda made: _renew_passwords(
        made, lambda name: name.startswith(ROLE) or name == OWNER
    ),
    "broker": lambda made: _renew_passwords(made, lambda name: name.startswith(BROKER)),
    "search": lambda made: _renew_passwords(made, lambda name: name == SEARCH_USER),
}


def _made(folder: Path, renew: Callable[[Path], object]) -> Texts:
    """The texts by name, made at the first time. Keys lie beside them as files."""
    from services.installation import make_keys, refuse_lost_keys
    from services.rights import ROLES
    from shared.bus.definitions import users

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / TEXTS
    texts: dict[str, str] = {}
    if file.exists():
        texts = json.loads(file.read_text(encoding="utf-8"))
        refuse_lost_keys(folder)
    _refuse_lost_seal(folder)
    names = [
        OWNER,
        SEARCH_USER,
        *TOKENS,
        *(f"{ROLE}{name}" for name in ROLES),
        *(f"{BROKER}{name}" for name in users()),
    ]
    make_keys(folder)
    _put(file, json.dumps({name: texts.get(name) or secrets.token_hex(32) for name in names}))
    renew(folder)
    made: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return made


def _refuse_lost_seal(made: Path) -> None:
    """What it was handed out for is sealed with it, in a file that is not seen from here.

    Raises `ConfigurationError`.
    """
    from services.ingest.sealing import KEY_FILE

    copies = sorted(made.parent.glob(f"*/{KEY_FILE}"))
    if copies and not (made / KEY_FILE).exists():
        raise ConfigurationError(
            f"missing in {made}: {KEY_FILE}. Copy it back from {copies[0].parent}: a new one would "
            "open no secret of the endpoints"
        )


def _files(settings: SecretsSettings, texts: Texts) -> Iterator[tuple[str, str, bytes]]:
    """Folder, name and content of everything that is handed out."""
    from services.processes import PROCESSES

    made = settings.secrets_dir / MADE
    for process in PROCESSES:
        values = _values(settings, texts, process)
        for name in sorted(process.secrets & set(values)):
            yield process.name, name.lower(), values[name].encode()
        for name in process.keys:
            yield process.name, name, (made / name).read_bytes()
    yield "postgres", "password", _newest(texts[OWNER]).encode()
    yield "elasticsearch", "password", _newest(texts[SEARCH_USER]).encode()
    yield from _broker_files(settings, texts)


def _values(settings: SecretsSettings, texts: Texts, process: Process) -> Texts:
    """What each secret setting is for this process."""
    from services.rights import RECONCILER, ROLES, SESSIONS
    from shared.bus.definitions import ADMIN
    from shared.crm.grant_settings import READ, WRITE
    from shared.db import in_schema

    def database(role: str, schema: str = "") -> str:
        passwords = texts[OWNER if role == OWNER else f"{ROLE}{role}"]
        place = f"{settings.database_host}/{settings.database_name}"
        urls = _urls("postgresql+psycopg", role, passwords, place)
        return "\n".join(in_schema(url, schema) if schema else url for url in urls)

    is_setup = len(process.command) == 1
    service = process.command[-1]
    role = service if service in ROLES else OWNER
    user = ADMIN if is_setup else process.name
    webhook = base64.b64encode(bytes.fromhex(texts["crm-webhook"])).decode()
    place = f"{settings.broker_host}/{settings.broker_vhost}"
    known = texts.get(f"{BROKER}{user}")
    return {
        # Most web processes have no user there: then there is no address either.
        **({"BROKER_URL": "\n".join(_urls("pika", user, known, place))} if known else {}),
        "DATABASE_URL": database(role) if is_setup else database(role, service),
        "SESSIONS_URL": database(role, SESSIONS),
        "RECONCILER_DATABASE_URL": database(RECONCILER),
        "ROLE_PASSWORDS": json.dumps(
            {name: _newest(texts[f"{ROLE}{name}"]) for name in ROLES}
            | {OWNER: _newest(texts[OWNER])}
        ),
        "SEARCH_URL": "\n".join(
            _urls("http", SEARCH_USER, texts[SEARCH_USER], settings.search_host)
        ),
        "CRM_READ_TOKEN": texts["crm-read"],
        "CRM_WRITE_TOKEN": texts["crm-write"],
        "CRM_READ_GRANTS_URL": database(role, READ),
        "CRM_READ_GRANTS_KEY": texts["crm-read-grants"],
        "CRM_WRITE_GRANTS_URL": database(role, WRITE),
        "CRM_WRITE_GRANTS_KEY": texts["crm-write-grants"],
        "CRM_WEBHOOK_SECRET": f"whsec_{webhook}",
        "METRICS_TOKEN": texts["metrics"],
    }


def _urls(scheme: str, user: str, passwords: str, place: str) -> list[str]:
    """One for each password, the newest first."""
    return [f"{scheme}://{user}:{password}@{place}" for password in passwords.split()]


def _broker_files(settings: SecretsSettings, texts: Texts) -> Iterator[tuple[str, str, bytes]]:
    """Topology, users and their rights, which the broker loads when it starts."""
    from shared.bus.definitions import definitions

    loaded = definitions(settings.broker_vhost)
    for user in loaded["users"]:
        user["password_hash"] = password_hash(_newest(texts[f"{BROKER}{user['name']}"]))
        user["hashing_algorithm"] = "rabbit_password_hashing_sha256"
    conf = (
        "log.console = true\n"
        "vm_memory_high_watermark.absolute = 384MB\n"
        f"load_definitions = {settings.broker_conf_dir}/definitions.json\n"
    )
    yield "rabbitmq", "20-user.conf", conf.encode()
    yield "rabbitmq", "definitions.json", json.dumps(loaded, indent=1).encode()


def password_hash(password: str) -> str:
    """As RabbitMQ keeps it: https://www.rabbitmq.com/docs/passwords#computing-password-hash.

    The salt comes from the password, which is random itself, so that a second run changes nothing.
    """
    salt = hashlib.sha256(password.encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _put(path: Path, content: bytes | str) -> int:
    """Write the file as a whole, for its owner's eyes only; 0 where it says so already."""
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.read_bytes() == data:
        return 0
    replace_file(path, data)
    return 1


def _uid(settings: SecretsSettings, folder: str) -> int:
    return SERVER_UIDS.get(folder, settings.process_uid)


def _hand_over(path: Path, uid: int) -> None:
    """To the user that reads it, where we may: a plain user can only write files of its own."""
    if os.geteuid() == 0:
        os.chown(path, uid, uid)
    if path.is_file():
        path.chmod(0o400)
