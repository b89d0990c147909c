"""`countersign demo` posts something of every source, and all of it is taken."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from services.demonstration import sign_hubspot
from services.ingest.sources import SOURCES
from services.installation import Installation, RunSettings
from services.wiring import demo_posts, demo_secrets, endpoints_of, first_endpoints
from tests.vectors import Store

CRM_SECRET = "whsec_" + "QUJD" * 12


def test_every_source_has_its_request_and_takes_it(store: Store, tmp_path: Path) -> None:
    home = Installation(root=tmp_path, run=RunSettings())
    home.prepare()
    first_endpoints(endpoints_of(home), CRM_SECRET)
    made = demo_posts(home, "run-1")
    assert {post.source for post in made} == set(SOURCES)
    store.now = datetime.now(UTC)
    client, secret = store.app().test_client(), demo_secrets(home)["hubspot"]
    for post in made:
        headers = dict(post.headers)
        if post.source == "hubspot":
            headers |= sign_hubspot(post, store.web.public_url, secret)
        answer = client.post(post.path, data=post.body, headers=headers)
        assert answer.status_code in {200, 204}, (post.what, answer.text)
