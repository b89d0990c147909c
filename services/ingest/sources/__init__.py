"""The registry of sources: one import and one line each."""

from __future__ import annotations

from services.ingest.source import Source
from services.ingest.sources import (
    demo_crm,
    generic_hmac,
    hubspot,
    make,
    postmark,
    standard_webhooks,
    zapier,
)

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        standard_webhooks.SOURCE,
        generic_hmac.SOURCE,
        hubspot.SOURCE,
        zapier.SOURCE,
        make.SOURCE,
        postmark.SOURCE,
        demo_crm.SOURCE,
    )
}
