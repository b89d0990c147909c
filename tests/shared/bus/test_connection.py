from __future__ import annotations

from pathlib import Path

import pytest

from shared.bus.connection import connect, translated
from shared.errors import BrokerUnavailable


def test_a_broker_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable):
        connect(f"durable+sqlite:///{tmp_path}/none/bus.db")


def test_a_lost_connection_is_unavailable_but_no_error_for_an_acknowledgement(
    tmp_path: Path,
) -> None:
    connection = connect(f"durable+sqlite:///{tmp_path}/bus.db")
    channel = connection.channel()
    connection.release()
    with pytest.raises(BrokerUnavailable), translated():
        channel.queue_declare("q")
    with translated(ignore_lost_channel=True):
        channel.queue_declare("q")
