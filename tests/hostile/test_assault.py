"""A hundredth of `make hostile`, as the gate can afford it."""

from __future__ import annotations

from pathlib import Path

from services.ingest.signed_text import decoded
from tests.hostile.assault import assault
from tests.product import running

COUNT = 1000


def test_hostile_requests_get_no_server_error_and_store_nothing_unsigned(tmp_path: Path) -> None:
    with running(tmp_path) as product:
        result = assault(product, COUNT)
    assert result.sent.total() == COUNT
    assert result.wrong == []
    assert result.server_errors == 0
    assert result.unproved == 0
    assert result.accepted > 100
    assert result.good_sent
    assert result.good_failed == 0


def test_another_spelling_of_the_same_base64_is_refused() -> None:
    assert decoded("QQ==", "base64") == b"A"
    assert decoded("QQ", "base64") == b"A"
    assert decoded("QR==", "base64") is None
    assert decoded("_-8", "base64url") == b"\xff\xef"
