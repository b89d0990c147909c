"""Zapier connection webhooks: Zapier's own signed deliveries, word for word Standard Webhooks.

https://docs.zapier.com/white-label/connection-webhooks/verify-signatures
"""

from __future__ import annotations

from services.ingest.source import Setup, Source
from services.ingest.sources import standard_webhooks

SOURCE = Source(
    name="zapier-connection",
    title="Zapier connection webhooks (signed)",
    verify=standard_webhooks.VERIFY,
    split=standard_webhooks.split,
    identify=standard_webhooks.identify,
    describe=standard_webhooks.describe,
    kept_headers=standard_webhooks.KEPT_HEADERS,
    setup=Setup(
        screen="Zapier → your integration → Connection webhooks → Endpoint URL",
        credential="the signing secret (whsec_…), which Zapier shows once, copied to here",
        made_by="vendor",
        form="whsec_ and base64",
    ),
)
