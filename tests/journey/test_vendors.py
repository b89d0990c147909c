"""The whole story in a CRM of each vendor's shape: from a mail to a written, searchable change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.demonstrations import DEMONSTRATIONS
from tests.journey.vendors import (
    NEW_PHONE,
    approved,
    card_for,
    demonstrating,
    live_value,
    searched,
)
from tests.product import eventually

PHONES = {
    "hubspot": "phone",
    "jobber": "phone",
    "pipedrive": "phones",
    "salesforce": "Phone",
    "servicetitan": "phone",
}
TRIED_FIRST = sorted(name for name, one in DEMONSTRATIONS.items() if one.has_test_account)
LIVE_AT_ONCE = sorted(set(DEMONSTRATIONS) - set(TRIED_FIRST))


@pytest.mark.parametrize("vendor", LIVE_AT_ONCE)
def test_a_mail_becomes_a_written_and_searchable_change(vendor: str, tmp_path: Path) -> None:
    field = PHONES[vendor]
    with demonstrating(tmp_path, vendor) as story:
        client = story.client
        card = card_for(client, field, NEW_PHONE)
        assert card["row"]["record"].startswith(f"{vendor}/")
        [change] = approved(client, card)["fields"]
        assert change["read_back"] == NEW_PHONE
        assert live_value(client, card, field) == NEW_PHONE
        assert eventually(lambda: searched(client))
        for remark in DEMONSTRATIONS[vendor].remarks:
            assert remark in story.product.said()


@pytest.mark.parametrize("vendor", TRIED_FIRST)
def test_a_change_is_tried_in_the_vendors_test_account_and_then_promoted(
    vendor: str, tmp_path: Path
) -> None:
    field, test_account = PHONES[vendor], f"{vendor}-test"
    with demonstrating(tmp_path, vendor, sandbox=True) as story:
        client = story.client
        card = card_for(client, field, NEW_PHONE)
        tried = approved(client, card)
        assert (tried["tried_in"], tried["matches"]) == (test_account, True)
        assert tried["stand_in"].startswith(f"{test_account}/")
        assert live_value(client, card, field) != NEW_PHONE
        promotion = eventually(lambda: card_for(client, field, NEW_PHONE))
        assert promotion["row"]["id"] == tried["promotion"]
        [change] = approved(client, promotion)["fields"]
        assert change["read_back"] == live_value(client, promotion, field) == NEW_PHONE
        told = eventually(lambda: len(found := searched(client)) > 1 and found)
        assert {row["outcome"] for row in told} == {"tried", "applied"}
