"""docker-compose.yml as compose reads it: merged, with defaults in place of unset variables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from tests.product import ROOT

FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
CONTAINER_PORT = 8000
# The servers whose images listen on every network they are on.
OPEN = ("nginx", "postgres", "rabbitmq", "elasticsearch")
EVERYWHERE = "0.0.0.0"
# Innermost first: a default may hold another variable.
_VARIABLE = re.compile(r"\$\{([A-Z_]+):-((?:[^${}]|\$(?!\{))*)\}")


@cache
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = _filled(yaml.safe_load(FILE.read_text()))
    return loaded


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one) for one in value]
    if not isinstance(value, str):
        return value
    while _VARIABLE.search(value):
        value = _VARIABLE.sub(lambda found: found.group(2), value)
    assert "${" not in value, f"a variable without a default: a fresh clone has none: {value}"
    return value


@dataclass(frozen=True)
class Compose:
    services: dict[str, Any] = field(default_factory=lambda: document()["services"])

    def environment(self, name: str) -> dict[str, str]:
        found = self.services[name].get("environment", {})
        assert all(isinstance(value, str) for value in found.values()), f"{name}: quote it"
        return dict(found)

    def mounts(self, name: str) -> dict[str, str]:
        """Where in the container → volume, or file of the repository."""
        service = self.services[name]
        found = {}
        for text in service.get("volumes", []):
            source, target, *_ = text.split(":")
            found[target] = source
        for secret in service.get("secrets", []):
            found[secret["target"]] = document()["secrets"][secret["source"]]["file"]
        return found

    def networks(self, name: str) -> dict[str, list[str]]:
        """The networks of a service, with the names it has there beside its own."""
        given = self.services[name].get("networks", {})
        if isinstance(given, list):
            return {network: [] for network in given}
        return {network: (more or {}).get("aliases", []) for network, more in given.items()}

    def listens_on(self, name: str) -> set[str]:
        """The networks on which others reach it: of ours those that ``HOST`` names."""
        host = self.environment(name).get("HOST")
        networks = self.networks(name)
        if name not in OPEN and host is None:
            return set()  # A worker listens to nobody.
        if name in OPEN or host == EVERYWHERE:
            return set(networks)
        return {network for network, names in networks.items() if host in names}

    def calls(self) -> set[tuple[str, str]]:
        """Everybody who can open a connection to anybody: who is on a network it listens on."""
        return {
            (caller, name)
            for name in self.services
            for caller in self.services
            if caller != name and self.listens_on(name) & self.networks(caller).keys()
        }

    def writable(self, name: str) -> set[str]:
        """The volumes that it may write to."""
        texts = self.services[name].get("volumes", [])
        return {text.split(":")[0] for text in texts if not text.endswith(":ro")}


def instructions() -> list[list[str]]:
    """The lines of the Dockerfile, in words."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def copied() -> list[tuple[str, str]]:
    """What of the repository goes below /app in the image: from where, to where."""
    found = [words[1:] for words in instructions() if words[0] == "COPY" and len(words) == 3]
    return [(source, target) for source, target in found if not target.startswith("/")]
