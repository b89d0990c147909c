"""Form fields: the values that stand under labels we know."""

from __future__ import annotations

from collections.abc import Mapping

from shared.labels import field_of


def form_values(parts: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Our field → (part, its text without space around it); the first label of a field counts."""
    found: dict[str, tuple[str, str]] = {}
    for part, text in parts.items():
        field = field_of(part)
        if field is not None and text.strip():
            found.setdefault(field, (part, text.strip()))
    return found
