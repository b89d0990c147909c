"""What the files of tests of one vendor share: the clients' patience, and a contract's proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crm.proof import Batch, is_done
from tests.fakes.faulty_crm import Fault
from tests.fakes.pipedrive_stage import Switch, contract_proxy

# Enough for the answer of a fake on a busy machine; and for one that never comes.
PATIENCE, WITH_A_HANG = 5.0, 1.5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long proof goes on where it was; where none is wanted there is none."""
    items[:] = [item for item in items if not item.name.endswith("[NOTSET]")]
    for item in items:
        case = getattr(item, "callspec", None)
        batch = case.params.get("batch") if case else None
        if isinstance(batch, Batch) and is_done(item.path.stem.removeprefix("test_"), batch):
            item.add_marker(pytest.mark.skip(reason="done before"))


@pytest.fixture
def patience(request: pytest.FixtureRequest) -> float:
    """How many seconds clients wait for an answer: fewer in a case whose fault is a hang."""
    case = getattr(request.node, "callspec", None)
    given = case.params.values() if case else ()
    return WITH_A_HANG if any(map(_hangs, given)) else PATIENCE


def _hangs(value: object) -> bool:
    if isinstance(value, tuple):
        return any(map(_hangs, value))
    if isinstance(value, Batch):
        return value.hangs
    return value == "hang" or (isinstance(value, Fault) and value.kind == "hang")


@pytest.fixture(scope="session")
def pipedrive_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Switch]]:
    with contract_proxy(tmp_path_factory.mktemp("prism")) as found:
        yield found
