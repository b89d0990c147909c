"""docker-compose.yml and the image, held to the table of processes without a container engine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.processes import PROCESSES, Process, calls, example
from services.secret_files import SecretsSettings, make_secrets
from shared.settings import REQUIRED
from tests.compose import DOCKERFILE, EVERYWHERE, Compose, document, instructions
from tests.product import ROOT

COMPOSE = Compose()
ONCE = {"secrets", "setup", "ops"}
SERVERS = {"nginx", "postgres", "rabbitmq", "elasticsearch"}
BY_NAME = {process.name: process for process in PROCESSES}
# The versions that the tests against real servers run on.
IMAGES = {
    "nginx": "nginx:1.22.1",
    "postgres": "postgres:15.18",
    "rabbitmq": "rabbitmq:3.10.8-management",
    "elasticsearch": "elasticsearch:9.2.0",
}
# What the images are known to contain, beside what our own Dockerfile puts into ours.
COMMANDS = {
    "nginx": {"curl"},
    "postgres": {"pg_isready"},
    "rabbitmq": {"rabbitmq-diagnostics"},
    "elasticsearch": {"curl"},
}
# Variable or key file → the only processes that may hold it, and in words for whoever breaks it.
HOLDERS = {
    "CRM_WRITE_TOKEN": {"writer-worker", "demo-crm"},
    "CRM_READ_TOKEN": {"classifier-worker", "writer-web", "writer-worker", "demo-crm"},
    "CRM_READ_GRANTS_URL": {"classifier-worker", "writer-web", "writer-worker"},
    "CRM_READ_GRANTS_KEY": {"classifier-worker", "writer-web", "writer-worker"},
    "CRM_WRITE_GRANTS_URL": {"writer-worker"},
    "CRM_WRITE_GRANTS_KEY": {"writer-worker"},
    "CRM_WEBHOOK_SECRET": {"demo-crm", "setup"},
    "OPENAI_API_KEY": {"classifier-worker"},
    "ENDPOINTS_FILE": {"ingest-web", "setup", "ops"},
    "endpoints.key": {"ingest-web", "setup"},
    "MAILBOXES_FILE": {"ingest-worker"},
    "ROLE_PASSWORDS": {"setup"},
    "SESSIONS_URL": {"ingest-web", "writer-web", "audit-web"},
    "SEARCH_URL": {"audit-web", "audit-worker", "setup", "ops"},
    "RECONCILER_DATABASE_URL": {"audit-web", "audit-worker"},
    "BROKER_URL": {
        "ingest-worker",
        "classifier-worker",
        "writer-worker",
        "audit-worker",
        "audit-web",  # Its user has no right but to see how long the queues are.
        "setup",
        "ops",
    },
    "decisions.ed25519": {"writer-web"},
    "checkpoints.ed25519": {"audit-worker", "ops"},
    "ledger.key": {"audit-web", "audit-worker", "ops"},
}
MAY = {"CRM_WRITE_TOKEN": "the writer's worker", "decisions.ed25519": "the writer's web process"}


def ours() -> list[str]:
    return [name for name in COMPOSE.services if name not in SERVERS]


def variables(name: str) -> dict[str, str]:
    """Setting → value, whether given or as a file."""
    given = COMPOSE.environment(name)
    return {variable.removesuffix("_FILE"): value for variable, value in given.items()} | given


def test_the_compose_file_has_exactly_the_processes_of_the_table() -> None:
    assert set(ours()) == set(BY_NAME)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda one: one.name)
def test_a_process_runs_its_command(process: Process) -> None:
    assert tuple(COMPOSE.services[process.name]["command"]) == process.command


@pytest.mark.parametrize("process", PROCESSES, ids=lambda one: one.name)
def test_every_variable_is_known_and_every_required_one_is_given(process: Process) -> None:
    given = COMPOSE.environment(process.name)
    names = {
        f"{name}_FILE" if name in process.secrets else name: field
        for name, field in process.fields.items()
    }
    assert set(given) <= set(names), f"{process.name} does not know these"
    required = {name for name, field in names.items() if field.default is REQUIRED}
    assert required <= set(given), f"{process.name} cannot start without these"


@pytest.mark.parametrize("credential", HOLDERS)
def test_a_credential_is_given_to_its_holders_only(credential: str) -> None:
    for name in ours():
        is_given = credential in variables(name) or credential in BY_NAME[name].keys
        assert not is_given or name in HOLDERS[credential], (
            f"`{credential}` is given to `{name}` in docker-compose.yml; "
            f"only {MAY.get(credential, ' and '.join(sorted(HOLDERS[credential])))} may hold it"
        )
        assert is_given or name not in HOLDERS[credential]


def test_only_who_has_a_user_at_the_broker_is_given_its_address(tmp_path: Path) -> None:
    make_secrets(SecretsSettings(secrets_dir=tmp_path))
    assert {file.parent.name for file in tmp_path.glob("*/broker_url")} == HOLDERS["BROKER_URL"]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda one: one.name)
def test_a_process_mounts_the_secrets_of_nobody_else(process: Process) -> None:
    mounted = {
        source for source in COMPOSE.mounts(process.name).values() if source.endswith("-secrets")
    }
    if process.name == "secrets":
        volumes = {name for name in document()["volumes"] if name.endswith("-secrets")}
        assert mounted == volumes
        return
    assert mounted == {f"{process.name}-secrets"}
    assert mounted.isdisjoint(COMPOSE.writable(process.name))


@pytest.mark.parametrize("process", PROCESSES, ids=lambda one: one.name)
def test_a_process_reaches_the_networks_of_the_table(process: Process) -> None:
    service = COMPOSE.services[process.name]
    assert COMPOSE.networks(process.name).keys() == process.reaches
    assert process.reaches or service["network_mode"] == "none"


# In words of the design: who may call whom. Pages and hooks are reached through the door alone.
MAY_CALL = {
    "nginx": {"ingest-web", "writer-web", "audit-web", "demo-crm"},
    "ingest-web": {"nginx", "postgres"},
    "ingest-worker": {"postgres", "rabbitmq"},
    "classifier-worker": {"postgres", "rabbitmq", "demo-crm"},
    "writer-web": {"nginx", "postgres", "demo-crm"},
    "writer-worker": {"postgres", "rabbitmq", "demo-crm"},
    "audit-web": {"nginx", "postgres", "rabbitmq", "elasticsearch"},
    "audit-worker": {"postgres", "rabbitmq", "elasticsearch"},
    "demo-crm": {"nginx"},
    "setup": {"postgres", "rabbitmq", "elasticsearch"},
    "ops": {"postgres", "rabbitmq", "elasticsearch"},
}


def test_the_table_lets_call_whom_the_design_says() -> None:
    assert calls() == {(caller, to) for caller, all_ in MAY_CALL.items() for to in all_}


def test_the_networks_let_through_what_the_table_says_and_nothing_else() -> None:
    assert COMPOSE.calls() == calls()


def test_a_web_process_that_listens_everywhere_would_be_found() -> None:
    environment = COMPOSE.environment("writer-web") | {"HOST": EVERYWHERE}
    open_ = {**COMPOSE.services["writer-web"], "environment": environment}
    wrong = Compose(services={**COMPOSE.services, "writer-web": open_}).calls() - calls()
    assert {("classifier-worker", "writer-web"), ("ingest-worker", "writer-web")} <= wrong


def test_only_the_front_door_and_who_asks_a_model_or_a_crm_have_a_way_out() -> None:
    open_ = {
        name for name, one in document()["networks"].items() if not (one or {}).get("internal")
    }
    assert open_ == {"front", "outside"}
    on_them = {
        name for name, one in COMPOSE.services.items() if open_ & set(one.get("networks", []))
    }
    assert on_them == {"nginx", "classifier-worker", "writer-web", "writer-worker"}
    publishing = {name for name, one in COMPOSE.services.items() if one.get("ports")}
    assert publishing == {"nginx"}


@pytest.mark.parametrize("process", PROCESSES, ids=lambda one: one.name)
def test_a_process_writes_to_no_folder_but_its_own(process: Process) -> None:
    given = COMPOSE.environment(process.name)
    mounts = COMPOSE.mounts(process.name)

    def volume_of(path: str) -> str:
        return mounts[max((t for t in mounts if path.startswith(t)), key=len)]

    writes = {volume_of(given[name]) for name in process.writes if name != "SECRETS_DIR"}
    reads = {volume_of(given[name]) for name in process.reads}
    secrets = {name for name in COMPOSE.writable(process.name) if name.endswith("-secrets")}
    assert COMPOSE.writable(process.name) - secrets == writes
    assert reads.isdisjoint(writes)


def test_no_secret_stands_in_an_environment() -> None:
    for name in COMPOSE.services:
        for variable, value in COMPOSE.environment(name).items():
            is_secret = re.search(r"PASSWORD|TOKEN|SECRET|API_KEY|_URL_FILE$|PASS$", variable)
            assert not is_secret or variable == "SECRETS_DIR" or value.startswith("/run/"), (
                f"{variable} of {name} must be a file"
            )
            assert "@" not in value, f"{variable} of {name} holds a password"


@pytest.mark.parametrize("name", COMPOSE.services)
def test_a_container_can_do_as_little_as_possible(name: str) -> None:
    service = COMPOSE.services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert service["restart"]
    assert "privileged" not in service
    if name != "secrets":
        assert "cap_add" not in service
        assert name not in SERVERS or service["user"].split(":")[0] not in {"0", "root"}
    if name not in ONCE:
        assert service["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_every_image_has_the_version_that_was_measured(name: str) -> None:
    assert COMPOSE.services[name]["image"] == IMAGES[name]


@pytest.mark.parametrize("name", [n for n in COMPOSE.services if n not in ONCE])
def test_every_health_check_is_a_command_of_its_image(name: str) -> None:
    kind, command, *_ = COMPOSE.services[name]["healthcheck"]["test"]
    assert kind == "CMD"
    placed = {"python"}
    assert command in COMMANDS.get(name, placed)


def test_our_health_checks_load_next_to_nothing() -> None:
    """Eight processes ask every fifteen seconds: what they import would keep a core busy."""
    asking = {tuple(COMPOSE.services[n].get("healthcheck", {}).get("test", ())) for n in ours()}
    assert asking == {(), ("CMD", "python", "-m", "services.health")}
    code = "import services.health, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"click", "environs", "kombu", "marshmallow", "sqlalchemy"})


def test_every_service_waits_for_one_that_is_there() -> None:
    for name, service in COMPOSE.services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in COMPOSE.services, name
            is_one_shot = other in {"secrets", "setup"}
            assert (how["condition"] == "service_completed_successfully") is is_one_shot, name
    assert COMPOSE.services["secrets"].get("depends_on", {}) == {}


def test_every_volume_network_and_file_exists() -> None:
    loaded = document()
    used: set[str] = set()
    for name in COMPOSE.services:
        sources = set(COMPOSE.mounts(name).values())
        for source in (source for source in sources if source.startswith("./")):
            assert (ROOT / source).exists(), source
        used |= {source for source in sources if not source.startswith("./")}
        assert COMPOSE.networks(name).keys() <= set(loaded["networks"])
    assert used == set(loaded["volumes"])


def test_every_key_of_the_file_is_one_of_the_specification() -> None:
    known = {
        "build",
        "cap_add",
        "cap_drop",
        "command",
        "depends_on",
        "environment",
        "healthcheck",
        "hostname",
        "image",
        "init",
        "mem_limit",
        "network_mode",
        "networks",
        "pids_limit",
        "profiles",
        "ports",
        "read_only",
        "restart",
        "secrets",
        "security_opt",
        "stop_grace_period",
        "tmpfs",
        "user",
        "volumes",
    }
    top = {key for key in document() if not key.startswith("x-")}
    assert top == {"name", "services", "networks", "secrets", "volumes"}
    for name, service in COMPOSE.services.items():
        assert set(service) <= known, name


def test_compose_itself_accepts_the_file() -> None:
    """Where a docker command with compose is there; the tests above need none."""
    docker = shutil.which("docker")
    if (
        not docker
        or subprocess.run(
            [docker, "compose", "version"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no docker compose on this machine")
    done = subprocess.run(
        [docker, "compose", "config", "-q"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = ROOT / ".venv" / "bin" / "hadolint"
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for words in instructions():
        if words[0] != "COPY" or any(word.startswith("--from") for word in words):
            continue
        sources = [word for word in words[1:-1] if not word.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source in allowed, f".dockerignore keeps {source} out"


def test_the_image_needs_no_syntax_line_and_runs_as_an_ordinary_user() -> None:
    text = DOCKERFILE.read_text()
    assert "syntax=" not in text
    bases = [words[1] for words in instructions() if words[0] == "FROM"]
    assert set(bases) == {"python:3.11-slim"}
    users = [words[1] for words in instructions() if words[0] == "USER"]
    assert users == ["10001:10001"]
    assert "--require-hashes" in text


def test_every_setting_stands_in_the_example_of_its_process_and_no_other() -> None:
    folder = ROOT / "deploy" / "env"
    found = {path.name: path.read_text() for path in folder.glob("*.env.example")}
    wanted: dict[str, Any] = {f"{one.name}.env.example": example(one) for one in PROCESSES}
    assert found == wanted, "python -m services.processes deploy/env"
