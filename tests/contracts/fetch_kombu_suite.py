"""Fetches kombu's own integration tests from its source distribution; they are not ours to copy.

Run it once (`python tests/contracts/fetch_kombu_suite.py`) where the tests have no network.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "kombu-sdist"
LOCK = ROOT / "deploy" / "requirements.txt"
VERSION = "5.7.0"
FILES = (
    "t/__init__.py",
    "t/integration/__init__.py",
    "t/integration/common.py",
    "t/integration/test_py_amqp.py",
)


def fetch() -> Path:
    """The folder that holds ``t/integration``, downloaded at the first call.

    Raises `ValueError` if the archive is not the one that the lock file names.
    """
    archive = CACHE / f"kombu-{VERSION}.tar.gz"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        options = ["--no-deps", "--no-binary", "kombu", "--dest", str(CACHE)]
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", *options, f"kombu=={VERSION}"],
            check=True,
        )
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest not in _locked_hashes():
        raise ValueError(f"{archive} is not the source of kombu {VERSION}: delete it")
    folder = CACHE / f"kombu-{VERSION}"
    with tarfile.open(archive) as opened:
        for name in FILES:
            # Only these files: beside the rest, the kombu of the archive would be imported.
            opened.extract(f"kombu-{VERSION}/{name}", CACHE, filter="data")
    return folder


def _locked_hashes() -> set[str]:
    block = re.search(rf"^kombu=={VERSION} .*?(?=^\S)", LOCK.read_text(), re.DOTALL | re.MULTILINE)
    return set(re.findall(r"sha256:([0-9a-f]{64})", block.group())) if block else set()


if __name__ == "__main__":
    print(fetch())
