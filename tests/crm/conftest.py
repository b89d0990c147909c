"""What the files of tests of one vendor share: its contract's proxy, which is slow to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.pipedrive_stage import Switch, contract_proxy


@pytest.fixture(scope="session")
def pipedrive_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Switch]]:
    with contract_proxy(tmp_path_factory.mktemp("prism")) as found:
        yield found
