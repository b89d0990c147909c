"""One Salesforce record has one name, with 15 characters of its id or with 18."""

from __future__ import annotations

import pytest

from services.ingest.sobject import long_id, record_of


@pytest.mark.parametrize("id_", ["001D000000IqhSL", "001D000000IqhSLIAZ"])
def test_both_forms_of_an_id_name_the_same_record(id_: str) -> None:
    assert long_id(id_) == "001D000000IqhSLIAZ"
    record = record_of("Account", id_)
    assert record is not None
    assert record.id == "001D000000IqhSLIAZ"
