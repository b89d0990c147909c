"""`make hostile`: N hostile requests (100,000) against the product, as JSON in `bench-results/`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.hostile.assault import assault
from tests.product import ROOT, running


def main() -> int:
    count = int(os.environ.get("N", "100000"))
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as product:
        result = assault(product, count)
    found = vars(result) | {"server_errors": result.server_errors, "wrong": result.wrong[:100]}
    shown = json.dumps(found, indent=2, ensure_ascii=False)
    target = ROOT / "bench-results"
    target.mkdir(exist_ok=True)
    (target / f"hostile-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json").write_text(shown)
    print(shown)
    return 1 if result.wrong or result.unproved or result.good_failed else 0


if __name__ == "__main__":
    sys.exit(main())
