"""The facts that lie beside the repository, in ``../shared``: CI fails without them.

A clone alone skips what needs them and is tested by its own fixtures.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "shared"


def is_expected(name: str) -> bool:
    """Whether tests are collected for the file: where it is, and in CI in any case."""
    return (FOLDER / name).exists() or bool(os.environ.get("CI"))


def beside(name: str) -> Path:
    """The path of a file, for a test that is running. Skips the test in a clone alone."""
    if not is_expected(name):
        pytest.skip(f"../shared/{name} is not beside the repository")
    return FOLDER / name
