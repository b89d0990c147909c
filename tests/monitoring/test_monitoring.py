"""Figures, page, rules and dashboard name the same things, and Prometheus itself agrees."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.embedded import prepare_databases
from services.installation import Installation, RunSettings
from services.wiring import web_application
from shared import alarm_rules, metrics
from shared.alarm_rules import RULES, Rule
from shared.heartbeat import Heart

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
NAME = re.compile(r"\bcountersign_[a-z0-9_]+")
# What only a running installation with work in it has; the whole story is in tests/journey.
NEEDS_WORK = {
    "hooks_total",
    "mailbox_problem_seconds",
    "model_tokens_limit",
    "decisions_total",
    "changes",
    "alarms",
    "process_memory_bytes",
}


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `/metrics` of a fresh installation says."""
    home = Installation(root=tmp_path_factory.mktemp("home"), run=RunSettings())
    home.prepare()
    prepare_databases(home)
    app = web_application(home)
    Heart(home.wake, "writer.relay").beat()
    return app.test_client().get("/metrics").text


def test_the_page_of_metrics_is_the_table() -> None:
    assert (FOLDER / "metrics.md").read_text() == metrics.document()


def test_a_fresh_installation_has_every_figure_that_needs_no_work(exposed: str) -> None:
    assert "countersign_unreadable_parts 0.0" in exposed
    found = set(re.findall(r"^# TYPE countersign_(\w+) \w+", exposed, re.MULTILINE))
    assert found - set(metrics.METRICS) == set(), "not in the table"
    assert set(metrics.METRICS) - found == NEEDS_WORK


def test_kinds_and_help_are_those_of_the_table(exposed: str) -> None:
    for name, one in metrics.METRICS.items():
        if name not in NEEDS_WORK:
            assert f"# TYPE countersign_{name} {one.kind}" in exposed
            assert f"# HELP countersign_{name} {one.help}" in exposed


def test_the_rules_of_prometheus_are_the_alarms_inside() -> None:
    assert (FOLDER / "alerts.yml").read_text() == alarm_rules.rule_file()
    [group] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    outside = {one["alert"]: (one["expr"], one["for"]) for one in group["rules"]}
    inside = {
        rule.name: (f"countersign_{rule.metric} {rule.sign} {rule.threshold}", f"{rule.seconds}s")
        for rule in RULES
    }
    assert outside == inside
    for one in group["rules"]:
        assert {"summary", "todo", "runbook"} <= set(one["annotations"])


@pytest.mark.parametrize("name", sorted({rule.runbook for rule in RULES}))
def test_every_runbook_is_there(name: str) -> None:
    page = ROOT / "deploy" / "runbooks" / f"{name}.md"
    assert page.is_file()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_alarm_is_in_its_runbook(rule: Rule) -> None:
    assert f"`{rule.name}`" in (ROOT / "deploy" / "runbooks" / "alarms.md").read_text()


def test_the_dashboard_shows_only_figures_that_there_are_and_all_of_them() -> None:
    dashboard = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {name for query in queries for name in NAME.findall(query)}
    assert used - metrics.sample_names() == set()
    shown = {name.removesuffix("_bucket").removeprefix(metrics.PREFIX) for name in used}
    assert set(metrics.METRICS) - shown == set()
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert len({(one["x"], one["y"]) for one in places}) == len(places)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)


def test_prometheus_can_read_every_query_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    said = promtool("check", "rules", str(file))
    assert f"{len(queries)} rules found" in said


def test_prometheus_accepts_the_rules() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(FOLDER / "alerts.yml"))


def test_each_rule_fires_in_prometheus_beyond_its_threshold_only(tmp_path: Path) -> None:
    tests = [_case(rule, met=met) for rule in RULES for met in (True, False)]
    case = {
        "rule_files": [str(FOLDER / "alerts.yml")],
        "evaluation_interval": "30s",
        "tests": tests,
    }
    file = tmp_path / "case.yml"
    file.write_text(yaml.safe_dump(case))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def _case(rule: Rule, *, met: bool) -> dict[str, Any]:
    """One series at one side of the threshold for longer than the rule waits."""
    beyond = {">": 1, "<": -1, "!=": 1}[rule.sign]
    value = rule.threshold + (beyond if met else 0)
    labels = dict.fromkeys(metrics.METRICS[rule.metric].labels, "x")
    chosen = ",".join(f'{name}="{text}"' for name, text in labels.items())
    annotations = {
        "summary": rule.summary,
        "todo": rule.todo,
        "runbook": f"deploy/runbooks/{rule.runbook}.md",
    }
    severity = {"severity": "page" if rule.is_urgent else "ticket"}
    alert = {"exp_labels": {**labels, **severity}, "exp_annotations": annotations}
    return {
        "interval": "30s",
        "input_series": [
            {"series": f"countersign_{rule.metric}{{{chosen}}}", "values": f"{value}x60"}
        ],
        "alert_rule_test": [
            {"eval_time": "25m", "alertname": rule.name, "exp_alerts": [alert] if met else []}
        ],
    }


def promtool(*words: str) -> str:
    """In CI a machine without it fails; elsewhere the test says so and rests."""
    if shutil.which("promtool") is None:
        if os.environ.get("CI"):
            pytest.fail("no promtool on this machine: .ci/run installs it")
        pytest.skip("no promtool on this machine: Debian has it in the package prometheus")
    said = subprocess.run(
        ["promtool", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout
