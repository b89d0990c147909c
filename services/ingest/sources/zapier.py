"""Webhooks by Zapier: unsigned, so a secret header that the user types into the step.

https://help.zapier.com/hc/en-us/articles/8496326446989-Send-webhooks-in-Zaps
"""

from __future__ import annotations

from services.ingest.forms import FORM_HEADERS, describe_form, identify_form, one_form
from services.ingest.signatures import Token
from services.ingest.source import Setup, Source

SOURCE = Source(
    name="zapier",
    title="Zapier",
    verify=Token(header="x-ingest-token"),
    split=one_form,
    identify=identify_form,
    describe=describe_form,
    kept_headers=FORM_HEADERS,
    setup=Setup(
        screen="Webhooks by Zapier → POST → URL",
        credential="under Headers: X-Ingest-Token with the token; map a field named id if you can",
    ),
)
