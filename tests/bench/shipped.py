"""The packages that a customer has. What only development installs is hidden from the product:
structlog and kombu load some of it (rich, attrs, simplejson, yaml) wherever it is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.product import ROOT

LOCKED = re.compile(r"^([\w.-]+)==", re.MULTILINE)


@cache
def shipped() -> Mapping[str, str]:
    """Variables under which Python finds the locked packages alone."""
    text = (ROOT / "deploy" / "requirements.txt").read_text()
    locked = {_normal(name) for name in LOCKED.findall(text)}
    hidden = sorted(
        package
        for package, distributions in packages_distributions().items()
        if locked.isdisjoint(map(_normal, distributions))
    )
    return {"PYTHONPATH": f"{Path(__file__).parent / 'hiding'}:{ROOT}", "HIDDEN": ",".join(hidden)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
