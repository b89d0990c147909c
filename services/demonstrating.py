"""`countersign demo --crm VENDOR`: the whole story in a CRM of that vendor's shape, on its own.

A product of its own in a folder of its own, beside a double of the vendor's API with sample
records. The doubles are part of the tests, so this works in a clone of the repository.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from services.installation import Installation
from shared.crm.accounts import BUILT_IN
from shared.errors import ConfigurationError

ROOT: Final = Path(__file__).parents[1]
FURTHER: Final = 20
MAILS: Final = "postmark-inbound"
DRAFT_FIELDS: Final = {
    "first_name": "text",
    "last_name": "text",
    "email": "email",
    "phone": "phone",
}


def beside(home: Installation, vendor: str) -> Installation:
    """An installation next to this one, on ports of its own."""
    root = home.root.with_name(f"{home.root.name}-{vendor}")
    run = replace(home.run, data_dir=root, port=home.run.port + FURTHER, crm_port=0, public_url="")
    return Installation(root=root, run=run)


@contextmanager
def double_of(vendor: str) -> Iterator[Mapping[str, Any]]:
    """Start a vendor's double; gives its accounts and fields. Raises `ConfigurationError`."""
    if not (ROOT / "tests" / "fakes").is_dir():
        raise ConfigurationError("the doubles of the CRMs are part of the tests: use a clone")
    if not vendor.isidentifier():
        raise ConfigurationError("a vendor is one word, such as hubspot")
    with subprocess.Popen(  # noqa: S603 - our own module, and a name that was looked at
        [sys.executable, "-m", "tests.fakes", vendor],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None, "it was asked for"
        said = process.stdout.readline()
        if not said:
            raise ConfigurationError(f"there is no double of {vendor} here")
        try:
            yield json.loads(said)
        finally:
            process.terminate()


def furnish(home: Installation, vendor: str, double: Mapping[str, Any], *, sandbox: bool) -> None:
    """Write the accounts of both sides and open the fields of this vendor's people.

    With a ``sandbox`` every change is tried first: in a second account of the vendor where there
    is one, else in the demo CRM.
    """
    accounts = double["accounts"]
    for side in ("read", "write"):
        tables = {vendor: accounts[vendor][side]}
        if sandbox:
            tables |= _stand_in(vendor, accounts, side)
        lines = [line for name, options in tables.items() for line in _table(name, options)]
        path = home.crms(write=side == "write")
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
    objects = {double["people"]: double["fields"], "drafts": DRAFT_FIELDS}
    shipped = home.policy.read_text()
    if f"[fields.{vendor}." not in shipped:
        home.policy.write_text(
            shipped + "".join(_fields(vendor, objects, "sandbox" if sandbox else "live"))
        )


def _stand_in(
    vendor: str, accounts: Mapping[str, Any], side: str
) -> Mapping[str, Mapping[str, str]]:
    others = [name for name in accounts if name != vendor]
    name = others[0] if others else "rehearsal"
    options = accounts[name][side] if others else {}
    own = {"vendor": vendor if others else BUILT_IN, "sandbox_of": vendor}
    return {name: {**own, **options}}


def _table(name: str, options: Mapping[str, str]) -> Iterator[str]:
    yield f"[{name}]"
    yield from (f"{key} = {json.dumps(value)}" for key, value in options.items())


def let_in(home: Installation, vendor: str, double: Mapping[str, Any]) -> None:
    """Keep the grants of apps whose refresh token rotates; the databases of grants are there."""
    from services.crm_cli import grants_of
    from shared.crm.grants import Pair

    for side, refresh in double["accounts"][vendor]["grants"].items():
        found = grants_of(home, write=side == "write")
        if found is not None:
            found.keep(vendor, Pair(access="", refresh=refresh, seconds=0))
            found.engine.dispose()  # Or a process that is forked later would inherit it.


def _fields(vendor: str, objects: Mapping[str, Mapping[str, str]], stage: str) -> Iterator[str]:
    for object_, fields in objects.items():
        for name, type_ in fields.items():
            yield (
                f'\n[fields.{vendor}.{object_}."{name}"]\nmode = "review"\ntype = "{type_}"\n'
                f'stage = "{stage}"\n'
                f'max_length = 120\nreason = "Opened for the demonstration."\n'
            )


def in_background(post: Callable[[], None]) -> None:
    """Post once the product listens."""

    def wait_and_post() -> None:
        for _ in range(60):
            time.sleep(1)
            try:
                post()
            except OSError:
                continue
            return
        click.echo("The product did not listen within a minute: no mails were posted.", err=True)

    threading.Thread(target=wait_and_post, daemon=True).start()


def post_mails(home: Installation) -> None:
    """The mails of the demonstration. Raises `OSError` while nobody listens."""
    from services.demonstration import posts, send
    from services.wiring import demo_secrets

    secrets = demo_secrets(home)
    mails = [one for one in posts(secrets, uuid.uuid4().hex[:12]) if one.source == MAILS]
    for post in mails:
        status = send(post, base_url=home.door_url, public_url=home.public_url, secrets=secrets)
        click.echo(f"{status}  {post.what}")
    click.echo(f"Mails are in: look at  {home.public_url}/queue")
