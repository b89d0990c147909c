"""Signing C2SP notes with Ed25519, without I/O; whoever checks one uses `shared.proof`.

Formats: c2sp.org/signed-note and c2sp.org/tlog-checkpoint.
"""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.proof import VerifierKey, note_text, require_name


def vkey_of(key_name: str, private_key: Ed25519PrivateKey) -> VerifierKey:
    """The verifier key that belongs to a signing key. Raises `BadPayload` for an unfit name."""
    require_name(key_name)
    return VerifierKey(name=key_name, public_key=private_key.public_key().public_bytes_raw())


def sign_note(text: str, key_name: str, *private_keys: Ed25519PrivateKey) -> str:
    """The note: the text, a blank line, and a signature line of each key.

    Raises `BadPayload` for a text that is empty, does not end in a newline or holds control
    characters.
    """
    lines = [f"— {key_name} {_signature(text, key_name, key)}\n" for key in private_keys]
    return f"{text}\n{''.join(lines)}"


def _signature(text: str, key_name: str, private_key: Ed25519PrivateKey) -> str:
    key_id = vkey_of(key_name, private_key).key_id
    return base64.b64encode(key_id + private_key.sign(note_text(text))).decode()
