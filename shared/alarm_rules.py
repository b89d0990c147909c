"""What counts as an alarm: one table for the alarms inside and for Prometheus.

``deploy/monitoring/alerts.yml`` is printed from here: ``python -m shared.alarm_rules``.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from shared.metrics import PREFIX

GIBIBYTE = 1024**3
Sign = Literal[">", "<", "!="]
COMPARE: Mapping[Sign, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    "!=": operator.ne,
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """On when ``metric`` has been ``sign threshold`` for ``seconds``.

    ``summary`` says what is wrong, ``todo`` what to do first, ``runbook`` is a page in
    ``deploy/runbooks``.
    """

    name: str
    metric: str
    sign: Sign = ">"
    threshold: int
    seconds: int
    is_urgent: bool = True
    summary: str
    todo: str
    runbook: str

    def is_met(self, value: float) -> bool:
        return COMPARE[self.sign](value, self.threshold)

    @property
    def expression(self) -> str:
        """The condition as PromQL."""
        return f"{PREFIX}{self.metric} {self.sign} {self.threshold}"


RULES: tuple[Rule, ...] = (
    Rule(
        name="InboxOld",
        metric="inbox_age_seconds",
        threshold=120,
        seconds=60,
        summary="Accepted events are not sent on",
        todo="See whether the broker and the ingest worker run; nothing is lost meanwhile.",
        runbook="queues",
    ),
    Rule(
        name="OutboxOld",
        metric="outbox_age_seconds",
        threshold=120,
        seconds=60,
        summary="A service cannot hand its messages to the broker",
        todo="See whether the broker runs and takes messages (memory, disk).",
        runbook="queues",
    ),
    Rule(
        name="BrokerDown",
        metric="broker_up",
        sign="<",
        threshold=1,
        seconds=60,
        summary="The broker does not answer",
        todo="Start the broker; webhooks are taken in meanwhile.",
        runbook="queues",
    ),
    Rule(
        name="BindingsWrong",
        metric="bindings_wrong",
        threshold=0,
        seconds=0,
        summary="The bindings of the broker differ from the topic table",
        todo="Import deploy/rabbitmq/definitions.json again.",
        runbook="queues",
    ),
    Rule(
        name="QueueOld",
        metric="queue_age_seconds",
        threshold=300,
        seconds=60,
        summary="Messages wait in a queue for more than five minutes",
        todo="See whether the worker of that queue runs and what its log says.",
        runbook="queues",
    ),
    Rule(
        name="QueueDeep",
        metric="queue_messages",
        threshold=1000,
        seconds=300,
        summary="A queue has held more than a thousand messages for five minutes",
        todo="See whether the worker of that queue runs and what its log says.",
        runbook="queues",
    ),
    Rule(
        name="Unroutable",
        metric="unroutable_messages",
        threshold=0,
        seconds=60,
        summary="The broker refused to route messages",
        todo="Compare the broker's bindings with deploy/rabbitmq/definitions.json.",
        runbook="queues",
    ),
    Rule(
        name="DeadLetters",
        metric="dead_letters",
        threshold=0,
        seconds=0,
        summary="Messages could not be handled",
        todo="Read the reasons with `countersign dead list`, mend the cause, then replay.",
        runbook="dead-letters",
    ),
    Rule(
        name="RefusedSignatures",
        metric="refused_signatures_recent",
        threshold=50,
        seconds=0,
        summary="Many requests were refused for their signature within ten minutes",
        todo="See Status → Sources: a changed secret, or somebody who tries the door.",
        runbook="rotate-secrets",
    ),
    Rule(
        name="MailboxFails",
        metric="mailbox_problem_seconds",
        threshold=900,
        seconds=0,
        is_urgent=False,
        summary="A mailbox could not be read for a quarter of an hour",
        todo="Status → Sources says why; `countersign mailboxes check` tries it at once.",
        runbook="mailbox",
    ),
    Rule(
        name="LedgerStopped",
        metric="receipt_wait_seconds",
        threshold=120,
        seconds=0,
        summary="The log does not answer, so nothing is written to the CRM",
        todo="See whether the audit worker runs; approved changes wait for it.",
        runbook="log",
    ),
    Rule(
        name="CheckpointOld",
        metric="unsealed_seconds",
        threshold=600,
        seconds=0,
        summary="Entries of the log have not been sealed for ten minutes",
        todo="See whether the audit worker runs and holds its key.",
        runbook="log",
    ),
    Rule(
        name="SearchDown",
        metric="search_up",
        sign="<",
        threshold=1,
        seconds=60,
        is_urgent=False,
        summary="The search index does not answer",
        todo="Start it; the log goes on, and search takes in what it missed.",
        runbook="log",
    ),
    Rule(
        name="IndexBehind",
        metric="index_behind_seconds",
        threshold=60,
        seconds=0,
        is_urgent=False,
        summary="The search does not know the newest entries",
        todo="Wait if many events came at once; else look at the audit worker's log.",
        runbook="log",
    ),
    Rule(
        name="BalanceOff",
        metric="balance_difference",
        sign="!=",
        threshold=0,
        seconds=300,
        summary="Accepted events and their ends do not add up",
        todo="Compare the counts on the status page; `countersign verify` checks the log.",
        runbook="log",
    ),
    Rule(
        name="UnknownChange",
        metric="unknown_change_seconds",
        threshold=600,
        seconds=0,
        summary="Whether a change was written has been unknown for ten minutes",
        todo="Look at the record in the CRM; the product reads it back by itself when it can.",
        runbook="writing",
    ),
    Rule(
        name="CardOld",
        metric="oldest_card_working_seconds",
        threshold=8 * 3600,
        seconds=0,
        is_urgent=False,
        summary="A card has waited for a full working day",
        todo="Decide it, assign it, or let it expire.",
        runbook="writing",
    ),
    Rule(
        name="StopForgotten",
        metric="writing_stopped_seconds",
        threshold=4 * 3600,
        seconds=0,
        is_urgent=False,
        summary="Writing has been stopped for four hours",
        todo="Resume it on the status page, if the reason is gone.",
        runbook="writing",
    ),
    Rule(
        name="PolicyInvalid",
        metric="policy_invalid",
        threshold=0,
        seconds=60,
        summary="The policy file is invalid and nothing is written",
        todo="`countersign policy check` names what is wrong.",
        runbook="writing",
    ),
    Rule(
        name="LoopLate",
        metric="heartbeat_overdue_seconds",
        threshold=0,
        seconds=60,
        summary="A loop of a worker does not move",
        todo="Restart that worker; whatever it had in hand comes back.",
        runbook="queues",
    ),
    Rule(
        name="DiskLow",
        metric="disk_free_bytes",
        sign="<",
        threshold=GIBIBYTE,
        seconds=0,
        summary="Less than 1 GiB is free where the data lies",
        todo="Make room before intake has to refuse webhooks.",
        runbook="disk-full",
    ),
    Rule(
        name="NoticesFail",
        metric="notices_failing",
        threshold=0,
        seconds=600,
        is_urgent=False,
        summary="Notices to people cannot be delivered",
        todo="`countersign notices test` says what each channel answers.",
        runbook="notices",
    ),
)


def rule_file() -> str:
    """The rules for Prometheus, in YAML. JSON's strings are YAML's too."""
    lines = [*_HEAD]
    for rule in RULES:
        lines += [
            f"      - alert: {rule.name}",
            f"        expr: {json.dumps(rule.expression)}",
            f"        for: {rule.seconds}s",
            "        labels:",
            f"          severity: {'page' if rule.is_urgent else 'ticket'}",
            "        annotations:",
            f"          summary: {json.dumps(rule.summary, ensure_ascii=False)}",
            f"          todo: {json.dumps(rule.todo, ensure_ascii=False)}",
            f"          runbook: deploy/runbooks/{rule.runbook}.md",
        ]
    return "\n".join([*lines, ""])


BY_NAME = {rule.name: rule for rule in RULES}

_HEAD = (
    "# Printed by `python -m shared.alarm_rules`: the very rules that the product watches itself.",
    "groups:",
    "  - name: countersign",
    "    rules:",
)

if __name__ == "__main__":
    print(rule_file(), end="")  # noqa: T201 - printing it is the purpose
