"""What a webhook tells is compared with what we wrote by meaning, and no further than that."""

from __future__ import annotations

from typing import Any

import pytest

from services.writer.told_value import is_told


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (None, ""),
        ("", None),
        (True, "true"),
        (False, "FALSE"),
        (7, "7"),
        (7, "7.00"),
        ("1.5", "1.50"),
        ("+12025550199", "+1 202-555-0199"),
        ("Ann@Example.com", "ann@example.com"),
        ("2026-11-23", "1795392000000"),
        ("1970-01-01", "0"),
        ("1970-01-02", "86400000"),
        ("2026-11-23", "2026-11-23T00:00:00.000Z"),
        ("a\nb", "a\r\nb "),
        ("e\u0301", "\u00e9"),
    ],
)
def test_another_spelling_is_the_same(written: Any, told: Any) -> None:
    assert is_told(written, told)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("a", None),
        (None, "0"),
        (True, "false"),
        (True, "yes please"),
        (7, "8"),
        (1, True),
        ("1234", "01234"),
        ("01234", "1234"),
        ("12", "12.0"),
        ("+12025550199", "+12025550198"),
        ("ann@example.com", "bo@example.com"),
        ("2026-11-23", "2026-11-24"),
        ("2026-11-23", "2026-11-23T09:00:00Z"),
        ("Head baker", "head baker"),
    ],
)
def test_a_persons_change_is_one(written: Any, told: Any) -> None:
    assert not is_told(written, told)
