"""A hundredth of `make hostile`, as the gate can afford it; and that the checks can fail."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from services.ingest.json_gate import parse_json
from shared.errors import NotJson
from tests.bench.result import NotHereError
from tests.hostile import leaks
from tests.hostile.json_texts import texts
from tests.hostile.parts import PARTS
from tests.product import Product

SOUND_BUT_NO_OBJECT = (b"1", b'"a"', b"null")
SCALES = {"requests": 0.01, "slow": 0.01, "replay": 0.01, "echo": 0.05, "logs": 0.1}


@pytest.mark.parametrize("name", PARTS)
def test_the_intake_holds(name: str, tmp_path: Path) -> None:
    try:
        found = PARTS[name](tmp_path, SCALES[name], print)
    except NotHereError as why:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(why))
    assert found["faults"] == [], found


def test_a_planted_text_in_a_log_is_found(tmp_path: Path) -> None:
    product = Product(folder=tmp_path)
    (tmp_path / "err.log").write_text(f"one line\nHello {leaks.planted(3)}, how are you?\n")
    assert leaks.found_in(product, {leaks.planted(3): "by hand"}) == [
        f"by hand: {leaks.planted(3)!r} in err.log"
    ]


def test_texts_to_refuse_are_no_json_object_wherever_they_stand() -> None:
    for is_good, body in itertools.islice(texts(), 3000):
        if is_good:
            assert isinstance(parse_json(body), dict), body
        elif body in SOUND_BUT_NO_OBJECT:
            assert not isinstance(parse_json(body), dict), body
        else:
            with pytest.raises(NotJson):
                parse_json(body)
