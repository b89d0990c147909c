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


def sign_note(text: str, key_name: str, private_key: Ed25519PrivateKey) -> str:
    """The note: the text, a blank line, and one signature line.

    Raises `BadPayload` for a text that is empty, does not end in a newline or holds control
    characters.
    """
    key = vkey_of(key_name, private_key)
    signature = key.key_id + private_key.sign(note_text(text))
    return f"{text}\n— {key_name} {base64.b64encode(signature).decode()}\n"
