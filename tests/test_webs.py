"""How much a request may bring, wherever the installation lies."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from services.ingest.sources import SOURCES
from services.serving import buffered
from services.webs import largest_body
from shared.web import BODY_LIMIT

LARGE = SOURCES["postmark-inbound"].max_bytes


@pytest.mark.parametrize(
    ("public_url", "path", "size"),
    [
        ("https://example.com", "/hooks/postmark-inbound/demo", LARGE),
        ("https://example.com/sign/", "/sign/hooks/postmark-inbound", LARGE),
        ("https://example.com/sign", "/hooks/postmark-inbound", LARGE),
        ("https://example.com/sign", "/signs/hooks/postmark-inbound", BODY_LIMIT),
        ("https://example.com", "/sign/hooks/postmark-inbound", BODY_LIMIT),
        ("https://example.com/sign", "/sign", BODY_LIMIT),
    ],
)
def test_a_source_takes_its_mails_below_a_sub_path_too(
    public_url: str, path: str, size: int
) -> None:
    assert largest_body(path, public_url) == size
    application = SimpleNamespace(extensions={"door": SimpleNamespace(public_url=public_url)})
    assert buffered(application, 1)._largest(path) == size
