"""The log keeps where something went wrong and nothing of what a customer wrote."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from shared.logs import masked
from tests.product import ROOT

SPEAKS = """
import logging, threading
import structlog
from shared.errors import BadPayload
from shared.logs import configure_logs
configure_logs()
log = structlog.get_logger()
def fail():
    raise KeyError("Dana Miller")
try:
    try:
        fail()
    except KeyError as error:
        raise BadPayload("a field is missing") from error
except BadPayload:
    log.exception("failed")
log.warning("seen", who="dana@example.com")
logging.getLogger("waitress").error("Exception while serving /search?q=Dana Miller")
logging.getLogger("urllib3").warning("retrying %s", "Dana Miller")
logging.getLogger("odd").log(35, "a level of its own %s", "Dana Miller")
thread = threading.Thread(target=fail); thread.start(); thread.join()
"""


def test_words_of_others_stay_out_and_places_are_kept() -> None:
    said = subprocess.run(
        [sys.executable, "-c", SPEAKS],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "Dana" not in said
    assert "dana" not in said
    first, *others = map(json.loads, said.splitlines())
    assert "BadPayload: a field is missing" in first["exception"]
    assert "KeyError\n" in first["exception"]
    assert " fail" in first["exception"]
    assert [one["event"] for one in others] == [
        "seen",
        "said by a library",
        "retrying %s",
        "a level of its own %s",
        "a thread ended",
    ]
    assert [one["level"] for one in others][3:] == ["warning", "error"]


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.com",
        "+1 202 555 0186",
        "4111 1111 1111 1111",
        "whsec_QUJD",
        "Bearer abc.def",
    ],
)
def test_what_looks_personal_is_masked(text: str) -> None:
    assert masked(f"see {text} there") == "see *** there"


@pytest.mark.parametrize(
    "text",
    ["2026-11-28T07:39:26.681608Z", "0b5e77d1-51aa-4f0c-8000-000000000001", "port 5673", "404"],
)
def test_ids_and_times_are_kept(text: str) -> None:
    assert masked(text) == text
