"""The registry of sources: one import and one line each.

``SOURCES`` come through the door, ``FETCHED`` are looked for by us; ``KNOWN`` are both.
"""

from __future__ import annotations

from services.ingest.source import Source
from services.ingest.sources import (
    aws_sns,
    demo_crm,
    generic_hmac,
    hand_off,
    hubspot,
    jobber,
    mailbox,
    mailgun_routes,
    mailgun_webhook,
    make,
    pipedrive,
    postmark,
    salesforce_callout,
    salesforce_outbound_message,
    sendgrid_event,
    sendgrid_inbound,
    servicetitan,
    standard_webhooks,
    zapier,
    zapier_connection,
)

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        standard_webhooks.SOURCE,
        generic_hmac.SOURCE,
        hubspot.SOURCE,
        pipedrive.SOURCE,
        jobber.SOURCE,
        servicetitan.SOURCE,
        salesforce_outbound_message.SOURCE,
        salesforce_callout.SOURCE,
        zapier.SOURCE,
        zapier_connection.SOURCE,
        make.SOURCE,
        hand_off.SOURCE,
        postmark.SOURCE,
        sendgrid_inbound.SOURCE,
        sendgrid_event.SOURCE,
        mailgun_routes.SOURCE,
        mailgun_webhook.SOURCE,
        aws_sns.SOURCE,
        demo_crm.SOURCE,
    )
}
FETCHED: dict[str, Source] = {mailbox.SOURCE.name: mailbox.SOURCE}
KNOWN: dict[str, Source] = {**SOURCES, **FETCHED}
