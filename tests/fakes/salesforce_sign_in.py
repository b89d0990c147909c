"""Sign-in at the double of Salesforce: client credentials and signed assertions, for tokens."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from tests.fakes.salesforce_http import Request, Response
from tests.fakes.salesforce_org import Org, RefusedWrite, User

TOKEN_PATH = "/services/oauth2/token"
ORGANISATION = "00Dak0000000001EAA"


@dataclass(frozen=True, kw_only=True)
class Client:
    """An external client app: its secret or its key, and the user for whom it acts."""

    user: User
    secret: str | None = None
    key: RSAPublicKey | None = None


@dataclass(kw_only=True)
class SignIn:
    """``tokens`` names the user of each live session."""

    org: Org
    clients: dict[str, Client] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    site: str = ""
    audience: str = "https://login.salesforce.com"
    sign_ins: int = 0

    def user(self, request: Request) -> User:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            raise RefusedWrite(401, "INVALID_SESSION_ID", "Session expired or invalid", None)
        return self.org.users[self.tokens[token]]

    def token(self, request: Request) -> Response:
        """Client credentials, or an assertion that the client's key has signed."""
        if request.method != "POST":
            return Response(
                status=405, body={"error": "invalid_request", "error_description": "POST only"}
            )
        form = dict(parse_qsl(request.body.decode()))
        grant = form.get("grant_type")
        if grant == "client_credentials":
            client = self.clients.get(form.get("client_id", ""))
            is_known = (
                client is not None
                and client.secret is not None
                and client.secret == form.get("client_secret")
            )
            refusal = {"error": "invalid_client", "error_description": "invalid client credentials"}
        elif grant == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            client = self.asserted(form.get("assertion", ""))
            is_known = client is not None
            refusal = {"error": "invalid_grant", "error_description": "invalid assertion"}
        else:
            return Response(
                status=400,
                body={
                    "error": "unsupported_grant_type",
                    "error_description": "grant type not supported",
                },
            )
        if client is None or not is_known:
            return Response(status=400, body=refusal)
        token = self.session(client.user)
        who = f"https://login.salesforce.com/id/{ORGANISATION}/{client.user.id}"
        return Response(
            status=200,
            body={
                "access_token": token,
                "scope": "api",
                "instance_url": self.site,
                "id": who,
                "token_type": "Bearer",
            },
        )

    def session(self, user: User) -> str:
        """A ready token for a user."""
        self.sign_ins += 1
        token = f"{ORGANISATION}!session-{self.sign_ins}"
        self.tokens[token] = user.id
        return token

    def expire(self) -> None:
        """Every session ends."""
        self.tokens.clear()

    def asserted(self, assertion: str) -> Client | None:
        try:
            head, claims, signature = assertion.split(".")
            said = json.loads(_decoded(claims))
            client = self.clients[said["iss"]]
            if client.key is None or json.loads(_decoded(head))["alg"] != "RS256":
                return None
            client.key.verify(
                _decoded(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256()
            )
        except (ValueError, KeyError, InvalidSignature):
            return None
        username = f"{client.user.name.lower()}@example.com"
        is_in_time = time.time() < said["exp"] <= time.time() + 300
        return (
            client
            if (said["sub"], said["aud"]) == (username, self.audience) and is_in_time
            else None
        )


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
