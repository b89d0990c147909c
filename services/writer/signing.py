"""Decisions are signed by the web side; the worker holds public keys alone."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.domain.decision import Decision
from shared.errors import StoreUnavailable
from shared.keys import Reread, key_id, load_private, load_publics
from shared.proof import VerifierKey, parse_vkey

DECISIONS = "decisions"


@dataclass(frozen=True, kw_only=True)
class Signer:
    """The key that turns what a person clicked into something the gate accepts.

    ``key`` is asked each time: a key that was rotated meanwhile signs from then on.
    """

    key: Callable[[], Ed25519PrivateKey]

    def sign(self, decision: Decision) -> Decision:
        """The decision with key id and signature."""
        key = self.key()
        named = replace(decision, key_id=key_id(key.public_key()))
        signature = key.sign(named.signed_bytes())
        return replace(named, signature=base64.b64encode(signature).decode())


def load_signer(keys_dir: Path) -> Signer:
    """Raises `ConfigurationError` where the key is missing."""
    return Signer(key=Reread(keys_dir / f"{DECISIONS}.ed25519", load_private))


def decision_keys(keys_dir: Path) -> Callable[[], Mapping[str, Ed25519PublicKey]]:
    """Every public key that ever signed decisions, by key id; a new one counts at once.

    Raises `ConfigurationError` where there is none.
    """
    return Reread(keys_dir / f"{DECISIONS}.pub", lambda _: load_publics(keys_dir, DECISIONS))


def log_keys(keys_dir: Path) -> tuple[VerifierKey, ...]:
    """The pinned public keys of the log. Raises `StoreUnavailable` where there is none."""
    try:
        lines = (keys_dir / "checkpoints.vkey").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise StoreUnavailable("no checkpoints.vkey: copy it from the audit service") from error
    return tuple(parse_vkey(line) for line in lines)
