"""What apprise answers reaches people without any part of the address."""

from __future__ import annotations

import pytest

from shared.notifications.sending import Message, deliver, without_secrets
from tests.fakes.receiver import receiving

MESSAGE = Message(title="Title", text="Line\nhttps://example.com/cards/1", tone="warning")


def test_a_message_arrives_as_it_was_written() -> None:
    with receiving() as receiver:
        assert deliver(receiver.url, MESSAGE) is None
        [got] = receiver.messages
    assert (got["title"], got["message"], got["type"]) == (MESSAGE.title, MESSAGE.text, "warning")


@pytest.mark.parametrize("status", [401, 500])
def test_a_refusal_says_what_came_back_and_no_secret(status: int) -> None:
    with receiving() as receiver:
        receiver.status = status
        answer = deliver(receiver.url, MESSAGE)
    assert answer is not None
    assert str(status) in answer
    assert "hunter2" not in answer


def test_a_server_that_is_gone_and_an_unknown_address_are_reasons_too() -> None:
    with receiving() as receiver:
        url = receiver.url
    assert "onnection" in str(deliver(url, MESSAGE))
    assert deliver("nonsense://x", MESSAGE) == "this is no address that apprise knows"


def test_every_part_of_an_address_is_taken_out() -> None:
    url = "slack://TokenAAAA/TokenBBBB?from=robot@example.com"
    said = "bad TokenAAAA at https://hooks/TokenBBBB\nsecond line"
    assert without_secrets(said, url) == "bad … at https://hooks/…"
