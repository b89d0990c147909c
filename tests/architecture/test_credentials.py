"""Who is given which credential: the table of the design, cell by cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.declarations import SERVICES
from services.installation import Installation, RunSettings
from shared.settings import load_settings

HOLDERS = {
    "CRM_WRITE_TOKEN_FILE": {"writer.worker"},
    "CRM_READ_TOKEN_FILE": {"classifier.worker", "writer.web", "writer.worker"},
    "CRMS_READ_FILE": {"classifier.worker", "writer.web", "writer.worker"},
    "CRMS_WRITE_FILE": {"writer.worker"},
    "CRM_READ_GRANTS_URL": {"classifier.worker", "writer.web", "writer.worker"},
    "CRM_READ_GRANTS_KEY_FILE": {"classifier.worker", "writer.web", "writer.worker"},
    "CRM_WRITE_GRANTS_URL": {"writer.worker"},
    "CRM_WRITE_GRANTS_KEY_FILE": {"writer.worker"},
    "OPENAI_API_KEY": {"classifier.worker"},
    "ENDPOINTS_FILE": {"ingest.web"},
    "RECONCILER_DATABASE_URL": {"audit.web", "audit.worker"},
    "NOTICES_FILE": {"ingest.worker", "writer.worker", "audit.worker"},
    "NOTICE_URLS": {"ingest.worker", "writer.worker", "audit.worker"},
    "BROKER_MANAGEMENT_URL": {"audit.web", "audit.worker"},
}


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    home = Installation(root=tmp_path, run=RunSettings())
    home.prepare()
    for side in ("read", "write"):
        (tmp_path / f"crms.{side}.toml").write_text("")
    return {
        f"{service.name}.{role}": home.environment(service.name, role)
        for service in SERVICES
        for role in ("web", "worker")
        if getattr(service, role) is not None
    }


@pytest.mark.parametrize("variable", HOLDERS)
def test_a_credential_is_given_to_its_holders_only(
    variable: str, environments: dict[str, dict[str, str]]
) -> None:
    given = {name for name, environ in environments.items() if variable in environ}
    assert given == HOLDERS[variable], f"{variable} is given to {given - HOLDERS[variable]}"


WRITE_SECRETS = ("crm_write_token", "crms_write", "crm_write_grants_url", "crm_write_grants_key")


@pytest.mark.parametrize("secret", WRITE_SECRETS)
def test_no_settings_class_but_the_writers_worker_knows_how_to_write(secret: str) -> None:
    knowing = {
        f"{service.name}.{role}"
        for service in SERVICES
        for role in ("web", "worker")
        if (part := getattr(service, role)) is not None
        and secret in part.settings.__dataclass_fields__
    }
    assert knowing == {"writer.worker"}


def test_every_part_starts_with_exactly_what_it_is_given(
    environments: dict[str, dict[str, str]],
) -> None:
    for service in SERVICES:
        for role in ("web", "worker"):
            part = getattr(service, role)
            if part is not None:
                load_settings(part.settings, environments[f"{service.name}.{role}"])


def test_key_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    home = Installation(root=tmp_path, run=RunSettings())
    home.prepare()
    secrets = [*home.keys.glob("*.ed25519"), *home.keys.glob("*.token"), *home.keys.glob("*.key")]
    assert len(secrets) >= 6
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
