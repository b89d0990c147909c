"""The JSON API of the demo CRM: a read token sees everything, a write token changes records.

There is no DELETE and no merge. Errors are ``{"error": {"code", "message"}}``.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from werkzeug.routing import Rule
from werkzeug.wrappers import Request, Response

from services.demo_crm.duplicates import likely_duplicates, phone_key
from services.demo_crm.objects import FIELDS, STAGES, Refused, writable_by_integrations
from services.demo_crm.store import INTEGRATION, SEARCH_KEYS, Author, Entry, Record, Store

_TYPES = "<any(contacts, deals):record_type>"
_READ_SCOPES = ("contacts:read", "deals:read", "drafts:read")
_WRITE_SCOPES = ("contacts:write", "deals:write", "drafts:write", "notes:write")
_PAGE = 500
_SINCE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
_CANDIDATE_FIELDS = ("first_name", "last_name", "email", "phone", "company")

RULES = (
    Rule("/api/me", endpoint="me", methods=["GET"]),
    Rule("/api/stages", endpoint="stages", methods=["GET"]),
    Rule("/api/search", endpoint="search", methods=["GET"]),
    Rule("/api/duplicates", endpoint="duplicates", methods=["GET"]),
    Rule("/api/changes", endpoint="changes", methods=["GET"]),
    Rule("/api/fields/<record_type>", endpoint="fields", methods=["GET"]),
    Rule("/api/drafts", endpoint="list_drafts", methods=["GET"]),
    Rule("/api/drafts", endpoint="propose", methods=["POST"]),
    Rule("/api/<any(contacts, deals, drafts):record_type>/<record_id>", endpoint="read")
    if False
    else Rule(
        "/api/<any(contacts, deals, drafts):record_type>/<record_id>",
        endpoint="read",
        methods=["GET"],
    ),
)
