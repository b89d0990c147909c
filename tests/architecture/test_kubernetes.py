"""The Kubernetes manifests: valid, the same as compose, and nobody with more than the table gives."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.processes import LISTENERS, PROCESSES, calls
from services.secret_files import SecretsSettings, make_secrets
from tests.product import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAY = FOLDER / "overlays" / "one-cluster"
VERSION = "1.33"
Table = dict[str, Any]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def objects() -> tuple[Table, ...]:
    return tuple(_objects())


def _objects() -> Iterator[Table]:
    for path in (*sorted(FOLDER.glob("base/*.yaml")), *sorted(OVERLAY.glob("*.yaml"))):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


@cache
def pods() -> dict[str, Table]:
    """The pod of each workload, by its name."""
    found = {}
    for one in objects():
        if one["kind"] in {"Deployment", "StatefulSet", "Job"}:
            found[one["metadata"]["name"]] = one["spec"]["template"]
        elif one["kind"] == "CronJob":
            found[one["metadata"]["name"]] = one["spec"]["jobTemplate"]["spec"]["template"]
    return found


def test_the_manifests_are_those_of_the_compose_file() -> None:
    for name, text in generator().files().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, (
            f"{name} is old: PYTHONPATH=. python deploy/kubernetes/generate.py"
        )


def test_every_object_fits_the_schema_of_kubernetes() -> None:
    found = list(objects())
    assert len(found) > 50
    for one in found:
        kubernetes_validate.validate(one, VERSION, strict=True)


@pytest.mark.parametrize("folder", [FOLDER / "base", OVERLAY])
def test_what_a_kustomization_names_is_there(folder: Path) -> None:
    said = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    for name in (*said["resources"], *said.get("components", ())):
        assert (folder / name).exists(), name


def test_each_process_is_on_the_networks_of_the_table_and_no_other() -> None:
    found = pods()
    for process in PROCESSES:
        if process.name == "secrets":
            continue
        labels = found[process.name]["metadata"]["labels"]
        networks = {key.partition("/")[2] for key in labels if key.startswith("countersign.net/")}
        assert networks == process.reaches, process.name


def test_each_network_lets_its_members_in_and_nobody_else() -> None:
    policies = {one["metadata"]["name"]: one for one in objects() if one["kind"] == "NetworkPolicy"}
    assert policies["nobody"]["spec"]["podSelector"] == {}
    assert policies["nobody"]["spec"].keys() == {"podSelector", "policyTypes"}
    for network in LISTENERS:
        [rule] = policies[f"{network}-hears"]["spec"]["ingress"]
        member = {f"countersign.net/{network}": "member"}
        assert rule["from"] == [{"podSelector": {"matchLabels": member}}]


def test_the_policies_let_through_what_the_table_says_and_nothing_else() -> None:
    may_call, may_hear = (_let_through(way) for way in ("Egress", "Ingress"))
    assert {pair for pair in may_call & may_hear if len(set(pair)) == 2} == calls()


def _let_through(way: str) -> set[tuple[str, str]]:
    """Caller and listener of every policy of one side between pods."""
    rules, peers = ("egress", "to") if way == "Egress" else ("ingress", "from")
    return {
        (mine, other) if way == "Egress" else (other, mine)
        for policy in (one["spec"] for one in objects() if one["kind"] == "NetworkPolicy")
        for rule in policy.get(rules, ())
        for peer in rule.get(peers, ())
        if "podSelector" in peer
        for mine in _selected(policy["podSelector"])
        for other in _selected(peer["podSelector"])
    }


def _selected(selector: Table) -> set[str]:
    wanted = selector.get("matchLabels", {}).items()
    among = [set(one["values"]) for one in selector.get("matchExpressions", ())]
    return {
        name
        for name, pod in pods().items()
        if wanted <= pod["metadata"]["labels"].items() and all(name in names for names in among)
    }


def test_each_pod_gets_the_secret_of_its_own_name_alone(tmp_path: Path) -> None:
    make_secrets(SecretsSettings(secrets_dir=tmp_path))
    component = yaml.safe_load((OVERLAY / "secrets" / "kustomization.yaml").read_text())
    made = {one["name"]: one["files"] for one in component["secretGenerator"]}
    for name, pod in pods().items():
        volumes = pod["spec"]["volumes"]
        mounted = {one["secret"]["secretName"] for one in volumes if "secret" in one}
        given = {"openai-api-key", "notice-urls", "crms-read", "crms-write", "mailboxes"}
        assert mounted <= {name, *given}, name
        assert ("mailboxes" in mounted) is (name == "ingest-worker")
        assert ("openai-api-key" in mounted) is (name == "classifier-worker")
        assert ("crms-write" in mounted) is (name == "writer-worker")
        for file in made.get(name, []):
            assert (tmp_path / file).exists(), file


def test_no_pod_is_root_and_none_can_become_it() -> None:
    for name, pod in pods().items():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["runAsUser"] > 0
        assert pod["spec"]["automountServiceAccountToken"] is False
        [container] = pod["spec"]["containers"]
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is (name != "elasticsearch")
        assert container["resources"]["limits"]["memory"], name


def test_everything_but_what_runs_once_is_probed() -> None:
    for name, pod in pods().items():
        [container] = pod["spec"]["containers"]
        probes = {"startupProbe", "readinessProbe", "livenessProbe"} & container.keys()
        assert len(probes) == (0 if name in {"setup", "ops"} else 3), name


def test_backups_wait_until_somebody_wants_them() -> None:
    [job] = [one for one in objects() if one["kind"] == "CronJob"]
    assert job["spec"]["suspend"] is True
    [container] = pods()["ops"]["spec"]["containers"]
    assert container["args"] == ["backup", "/backups/$(POD_NAME).zip"]
    assert "/backups" in {one["mountPath"] for one in container["volumeMounts"]}


def test_only_what_may_run_more_than_once_is_scaled() -> None:
    """The ledger, the relay of the intake and the CRM's file have one owner each."""
    scaled = {one["metadata"]["name"] for one in objects() if "Autoscaler" in one["kind"]}
    assert scaled == {
        "ingest-web",
        "classifier-worker",
        "writer-web",
        "writer-worker",
        "audit-web",
    }
