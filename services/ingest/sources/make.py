"""Make's HTTP module: unsigned, so Basic authentication.

https://apps.make.com/http
"""

from __future__ import annotations

from services.ingest.forms import FORM_HEADERS, describe_form, identify_form, one_form
from services.ingest.signatures import Basic
from services.ingest.source import WITH_BASIC, Setup, Source

SOURCE = Source(
    name="make",
    title="Make",
    verify=Basic(),
    split=one_form,
    identify=identify_form,
    describe=describe_form,
    answers=WITH_BASIC,
    kept_headers=FORM_HEADERS,
    setup=Setup(
        screen="HTTP → Make a Basic Auth request; switch on “Evaluate all states as errors”",
        credential="a keychain entry with this user and password",
        form="user:password",
    ),
)
