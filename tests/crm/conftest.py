"""What the files of tests of one vendor share: the clients' patience, and a contract's proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.faulty_crm import Fault
from tests.fakes.pipedrive_stage import Switch, contract_proxy

# Enough for the answer of a fake on a busy machine; and for one that never comes.
PATIENCE, WITH_A_HANG = 5.0, 1.5


@pytest.fixture
def patience(request: pytest.FixtureRequest) -> float:
    """How many seconds clients wait for an answer: fewer in a case whose fault is a hang."""
    case = getattr(request.node, "callspec", None)
    given = case.params.values() if case else ()
    return WITH_A_HANG if any(map(_hangs, given)) else PATIENCE


def _hangs(value: object) -> bool:
    if isinstance(value, tuple):
        return any(map(_hangs, value))
    return value == "hang" or (isinstance(value, Fault) and value.kind == "hang")


@pytest.fixture(scope="session")
def pipedrive_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Switch]]:
    with contract_proxy(tmp_path_factory.mktemp("prism")) as found:
        yield found
