"""Makes the manifests out of `docker-compose.yml`, so that both forms say the same.

``PYTHONPATH=. python deploy/kubernetes/generate.py`` writes them anew; a test compares.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from services.processes import DOOR, LISTENERS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OVERLAY = "overlays/one-cluster"
PORTS = {"nginx": 8080, "postgres": 5432, "rabbitmq": 5672, "elasticsearch": 9200}
WEB_PORT = 8000
SERVERS = ("postgres", "rabbitmq", "elasticsearch")
# What ends by itself: `setup` at each start, `ops` whenever somebody asks.
ONCE = ("setup", "ops")
# Secrets are made outside and kept by the cluster.
LEFT_OUT = ("secrets",)
SHARED_GIB = {"people": 1, "endpoints": 1, "policy": 1, "raw": 20, "crm": 1, "backups": 50}
# One process alone has these.
UNSHARED = {"crm", "backups"}
SERVER_GIB = {"postgres": 20, "rabbitmq": 10, "elasticsearch": 20}
# What may run more than once (deploy/decisions: loops hold a lease), and up to how often.
SCALED = {
    "ingest-web": 6,
    "classifier-worker": 8,
    "writer-web": 4,
    "writer-worker": 4,
    "audit-web": 4,
}
PROBES = {
    "startupProbe": {"periodSeconds": 5, "failureThreshold": 60},
    "readinessProbe": {"periodSeconds": 10, "failureThreshold": 3},
    "livenessProbe": {"periodSeconds": 20, "failureThreshold": 6},
}
# What people give, each a secret of its own with one file; empty where they give nothing.
GIVEN = {
    "OPENAI_API_KEY_FILE": "/run/openai-api-key/value",
    "NOTICE_URLS_FILE": "/run/notice-urls/value",
    "CRMS_READ_FILE": "/run/crms-read/value",
    "CRMS_WRITE_FILE": "/run/crms-write/value",
    "MAILBOXES_FILE": "/run/mailboxes/value",
}
GIVEN_NAMES = tuple(path.split("/")[2] for path in GIVEN.values())
# HTTPS; IMAP over TLS or with STARTTLS. Nobody is a member of `mail` until there is a mailbox.
OUTSIDE = {"outside": (443,), "mail": (993, 143)}
Table = dict[str, Any]


def main() -> None:
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8")


def files() -> dict[str, str]:
    """The text of every generated file, by name."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    services: Table = {k: v for k, v in compose["services"].items() if k not in LEFT_OUT}
    ours = {name: one for name, one in services.items() if name not in SERVERS}
    return {
        "base/processes.yaml": _text(one for item in ours.items() for one in _process(*item)),
        "base/servers.yaml": _text(
            one for name in SERVERS for one in _server(name, services[name])
        ),
        "base/network.yaml": _text(_policies(services)),
        "base/scaling.yaml": _text(_scaling()),
        "base/shared.yaml": _text([*_claims(), _front_door()]),
        f"{OVERLAY}/secrets/kustomization.yaml": _text([_secrets()]),
    }


def _secrets() -> Table:
    """One secret for each folder that `countersign secrets` makes."""
    from services.secret_files import MADE, SecretsSettings, make_secrets

    with tempfile.TemporaryDirectory() as folder:
        make_secrets(SecretsSettings(secrets_dir=Path(folder)))
        made = {
            place.name: sorted(f"{place.name}/{file.name}" for file in place.iterdir())
            for place in sorted(Path(folder).iterdir())
            if place.name not in {MADE, *LEFT_OUT}
        }
    made |= {name: [f"{name}/value"] for name in GIVEN_NAMES}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "secretGenerator": [{"name": name, "files": files} for name, files in made.items()],
    }


def _text(objects: Any) -> str:
    head = "# Made by deploy/kubernetes/generate.py out of docker-compose.yml.\n"
    return head + yaml.safe_dump_all(list(objects), sort_keys=False, width=100)


def _object(kind: str, name: str, version: str = "v1", **more: Any) -> Table:
    labels = {"app.kubernetes.io/part-of": "countersign", "app.kubernetes.io/name": name}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        **more,
    }


def _process(name: str, one: Table) -> Iterator[Table]:
    if name == "ops":
        yield _backup(name, one)
        return
    pod = _pod(name, one)
    if name in ONCE:
        pod["spec"]["restartPolicy"] = "OnFailure"
        spec = {"backoffLimit": 20, "ttlSecondsAfterFinished": 3600, "template": pod}
        yield _object("Job", name, "batch/v1", spec=spec)
        return
    spec = {"selector": _selector(name), "strategy": _strategy(name), "template": pod}
    if name not in SCALED:
        spec = {"replicas": 1, **spec}
    yield _object("Deployment", name, "apps/v1", spec=spec)
    if (port := _port(name)) is not None:
        yield _service(name, port)


def _backup(name: str, one: Table) -> Table:
    """A backup each night once it is not suspended any more; each has the name of its pod."""
    pod = _pod(name, {**one, "volumes": [*one["volumes"], "backups:/backups"]})
    [container] = pod["spec"]["containers"]
    container["args"] = ["backup", "/backups/$(POD_NAME).zip"]
    own_name = {"fieldRef": {"fieldPath": "metadata.name"}}
    container["env"].insert(0, {"name": "POD_NAME", "valueFrom": own_name})
    pod["spec"]["restartPolicy"] = "Never"
    spec = {
        "schedule": "15 3 * * *",
        "suspend": True,
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"backoffLimit": 1, "template": pod}},
    }
    return _object("CronJob", name, "batch/v1", spec=spec)


def _strategy(name: str) -> Table:
    """The CRM's file has one owner at a time; everything else is replaced without a gap."""
    if name == "demo-crm":
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def _server(name: str, one: Table) -> Iterator[Table]:
    claim = _claim("data", "ReadWriteOnce", SERVER_GIB[name])
    spec = {
        "serviceName": name,
        "replicas": 1,
        "selector": _selector(name),
        "template": _pod(name, one),
        "volumeClaimTemplates": [claim],
    }
    yield _object("StatefulSet", name, "apps/v1", spec=spec)
    yield _service(name, PORTS[name])


def _port(name: str) -> int | None:
    if name in PORTS:
        return PORTS[name]
    return WEB_PORT if name.endswith("-web") or name == "demo-crm" else None


def _service(name: str, port: int) -> Table:
    ports = [{"name": "main", "port": port, "targetPort": port}]
    if name == "nginx":
        ports.append({"name": "crm", "port": 8081, "targetPort": 8081})
    selector = _selector(name)["matchLabels"]
    return _object("Service", name, spec={"selector": selector, "ports": ports})


def _selector(name: str) -> Table:
    return {"matchLabels": {"app.kubernetes.io/name": name}}


def _pod(name: str, one: Table) -> Table:
    labels = _object("Pod", name)["metadata"]["labels"]
    networks = {f"countersign.net/{network}": "member" for network in one["networks"]}
    volumes = list(_volumes(name, one))
    return {
        "metadata": {"labels": {**labels, **networks}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _user(one),
            "terminationGracePeriodSeconds": _seconds(one.get("stop_grace_period", "30s")),
            "containers": [_container(name, one, volumes)],
            "volumes": [volume for volume, _ in volumes if volume is not None],
        },
    }


def _seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def _user(one: Table) -> Table:
    uid, gid = map(int, one.get("user", "10001:10001").split(":"))
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": gid,
        "fsGroup": gid or uid,
        # A broker's cookie must stay readable for its owner alone.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container(name: str, one: Table, volumes: list[tuple[Table | None, Table]]) -> Table:
    container: Table = {
        "name": name,
        "image": one["image"],
        "imagePullPolicy": "IfNotPresent",
        **({"args": one["command"]} if "command" in one else {}),
        "env": list(_environment(one.get("environment", {}))),
        "resources": _resources(one),
        "securityContext": {
            # Elasticsearch keeps the key store that it makes beside the image's own files.
            "readOnlyRootFilesystem": name != "elasticsearch",
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [mount for _, mount in volumes],
    }
    if (port := _port(name)) is not None:
        container["ports"] = [{"name": "main", "containerPort": port}]
    if name not in ONCE:
        container |= _probes(name, one)
    return container


def _environment(values: Mapping[str, str]) -> Iterator[Table]:
    """Values of compose; what a person sets there comes from the ConfigMap here."""
    for name, value in values.items():
        if name in {"PUBLIC_URL", "CRM_PUBLIC_URL", "OPENAI_BASE_URL", "OPENAI_MODEL"}:
            key = {"name": "countersign", "key": name.lower().replace("_", "-")}
            yield {"name": name, "valueFrom": {"configMapKeyRef": key}}
        elif name == "ELASTIC_PASSWORD_FILE":
            # The image wants a file of mode 400 or 600; a secret that a group may read is 440.
            key = {"name": "elasticsearch", "key": "password"}
            yield {"name": "ELASTIC_PASSWORD", "valueFrom": {"secretKeyRef": key}}
        elif name == "HOST":
            yield {"name": name, "value": "0.0.0.0"}  # noqa: S104 - the policies say who may call
        elif name in GIVEN:
            yield {"name": name, "value": GIVEN[name]}
        else:
            yield {"name": name, "value": re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))}


def _resources(one: Table) -> Table:
    limit = one["mem_limit"]
    number, unit = int(limit[:-1]), {"m": "Mi", "g": "Gi"}[limit[-1]]
    half = f"{number // 2}{unit}" if number > 1 else "512Mi"
    return {
        "requests": {"cpu": "100m", "memory": half},
        "limits": {"memory": f"{number}{unit}"},
    }


def _probes(name: str, one: Table) -> Table:
    """The same checks as in compose; a web process is ready when it says so itself."""
    command = {"exec": {"command": one["healthcheck"]["test"][1:]}, "timeoutSeconds": 15}
    found = {probe: {**command, **how} for probe, how in PROBES.items()}
    if name.endswith("-web"):
        # Only what it needs to serve: a broker that is down is no reason to turn people away.
        ready = {"httpGet": {"path": "/readyz?for=intake", "port": "main"}, "timeoutSeconds": 10}
        found["readinessProbe"] = {**ready, **PROBES["readinessProbe"]}
    return found


def _volumes(name: str, one: Table) -> Iterator[tuple[Table | None, Table]]:
    """Each volume with its mount; ``None`` for one that a claim template makes."""
    for place in one.get("tmpfs", ()):
        path, _, options = place.partition(":")
        size = options.removeprefix("size=") or "64m"
        folder = {"medium": "Memory", "sizeLimit": size.replace("m", "Mi")}
        yield _mount(f"tmp{path.replace('/', '-')}", path, emptyDir=folder)
    for text in one.get("volumes", ()):
        source, path, *mode = text.split(":")
        yield from _volume(name, source, path, is_read_only=mode == ["ro"])
    for secret in one.get("secrets", ()):
        named = secret["source"].replace("_", "-")
        source = {"secretName": named}
        yield _mount(named, f"/run/{named}", secret=source, read_only=True)


def _volume(
    name: str, source: str, path: str, *, is_read_only: bool
) -> Iterator[tuple[Table | None, Table]]:
    if source.endswith("-secrets"):
        secret = {"secretName": source.removesuffix("-secrets"), "defaultMode": 0o440}
        yield _mount("secrets", path, secret=secret, read_only=True)
    elif source == name:
        mount = {"name": "data", "mountPath": path}
        # A fresh disk holds lost+found: the database wants a folder of its own.
        yield None, {**mount, "subPath": "data"} if name == "postgres" else mount
    elif source in SHARED_GIB:
        claim = {"claimName": source}
        yield _mount(source, path, persistentVolumeClaim=claim, read_only=is_read_only)
    elif source.endswith("nginx.conf"):
        files = {"name": "nginx"}
        yield _mount("nginx", path, configMap=files, read_only=True, sub_path="nginx.conf")


def _mount(
    name: str, path: str, *, read_only: bool = False, sub_path: str | None = None, **source: Any
) -> tuple[Table, Table]:
    mount: Table = {"name": name, "mountPath": path}
    mount |= {"readOnly": True} if read_only else {}
    mount |= {"subPath": sub_path} if sub_path else {}
    return {"name": name, **source}, mount


def _claim(name: str, mode: str, gib: int) -> Table:
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": f"{gib}Gi"}}}
    return {"metadata": {"name": name}, "spec": spec}


def _claims() -> Iterator[Table]:
    """Folders that several processes share: on several nodes they need ReadWriteMany."""
    for name, gib in SHARED_GIB.items():
        mode = "ReadWriteOnce" if name in UNSHARED else "ReadWriteMany"
        yield _object("PersistentVolumeClaim", name, spec=_claim(name, mode, gib)["spec"])


def _front_door() -> Table:
    """A service keeps its address: names are looked up once, by the cluster's own rules."""
    text = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text(encoding="utf-8")
    webs = [name for who in LISTENERS.values() if DOOR in who for name in who if name != DOOR]
    groups = "".join(f"    upstream {one} {{ server {one}:{WEB_PORT}; }}\n" for one in webs)
    text = re.sub(
        r"    # The names are Docker's.*resolver_timeout \S+\n", groups, text, flags=re.DOTALL
    )
    text = re.sub(rf"(http://\$[a-z]+):{WEB_PORT};", r"\1;", text)
    return _object("ConfigMap", "nginx", data={"nginx.conf": text})


def _policies(services: Mapping[str, Table]) -> Iterator[Table]:
    """Nobody talks to anybody, then one exception for each network of compose."""
    spec: Table = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    yield _policy("nobody", spec)
    yield _policy("names", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [_names()]})
    for network, listeners in LISTENERS.items():
        yield from _network(network, [name for name in listeners if name in services])
    for network, ports in OUTSIDE.items():
        egress = {"policyTypes": ["Egress"], "egress": [_outside(*ports)]}
        yield _policy(network, {**_members(network), **egress})
    door = [{"port": 8080, "protocol": "TCP"}, {"port": 8081, "protocol": "TCP"}]
    front = {"podSelector": _selector("nginx"), "policyTypes": ["Ingress"]}
    yield _policy("front", {**front, "ingress": [{"ports": door}]})


def _network(network: str, listeners: list[str]) -> Iterator[Table]:
    """Members may call the listeners; listeners may be called by members alone."""
    members = _members(network)
    names = {"key": "app.kubernetes.io/name", "operator": "In", "values": listeners}
    there = {"podSelector": {"matchExpressions": [names]}}
    ports = [{"port": port, "protocol": "TCP"} for port in sorted({_port(n) for n in listeners})]
    call = {"to": [there], "ports": ports}
    yield _policy(f"{network}-calls", {**members, "policyTypes": ["Egress"], "egress": [call]})
    hear = {"from": [members], "ports": ports}
    yield _policy(f"{network}-hears", {**there, "policyTypes": ["Ingress"], "ingress": [hear]})


def _members(network: str) -> Table:
    return {"podSelector": {"matchLabels": {f"countersign.net/{network}": "member"}}}


def _names() -> Table:
    """Names are looked up; nothing else leaves."""
    return {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def _outside(*ports: int) -> Table:
    """To the internet, and to no address inside."""
    inside = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"]
    block = {"cidr": "0.0.0.0/0", "except": inside}
    return {"to": [{"ipBlock": block}], "ports": [{"port": p, "protocol": "TCP"} for p in ports]}


def _policy(name: str, spec: Table) -> Table:
    return _object("NetworkPolicy", name, "networking.k8s.io/v1", spec=spec)


def _scaling() -> Iterator[Table]:
    """More of what may run side by side when the processors are busy, and never none at all."""
    busy = {"type": "Utilization", "averageUtilization": 70}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": busy}}
    for name, most in SCALED.items():
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        spec = {
            "scaleTargetRef": target,
            "minReplicas": 1,
            "maxReplicas": most,
            "metrics": [metric],
        }
        yield _object("HorizontalPodAutoscaler", name, "autoscaling/v2", spec=spec)
        keep = {"maxUnavailable": 1, "selector": _selector(name)}
        yield _object("PodDisruptionBudget", name, "policy/v1", spec=keep)


if __name__ == "__main__":
    main()
