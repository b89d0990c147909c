"""`make hostile`: proves that the intake holds, part by part, as JSON in `bench-results/`.

``python -m tests.hostile [requests slow replay echo logs]``; all without a name. ``SCALE=0.01`` runs
a hundredth of each, ``N`` sets the number of hostile requests.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.facts import environment
from tests.hostile.parts import PARTS, REQUESTS
from tests.product import ROOT


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        print(f"no such part: {', '.join(unknown)}; there are: {', '.join(PARTS)}")
        return 2
    scale = float(os.environ.get("SCALE", "1"))
    if "N" in os.environ:
        scale = int(os.environ["N"]) / REQUESTS
    found: dict[str, Any] = {"environment": environment(), "scale": scale}
    for name in names or PARTS:
        found[name] = _run(name, scale)
        _write(found)
    faults = [f"{name}: {fault}" for name in names or PARTS for fault in found[name]["faults"]]
    print("\n".join(faults) or "Everything held.")
    return 1 if faults else 0


def _run(name: str, scale: float) -> dict[str, Any]:
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{name:<9}{time.monotonic() - began:6.0f} s  {what}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        result = PARTS[name](Path(folder), scale, tell)
    shown = {key: value for key, value in result.items() if key != "faults"}
    print(json.dumps({name: shown}, indent=2, ensure_ascii=False), flush=True)
    return result


_STAMP = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def _write(found: dict[str, Any]) -> None:
    target = ROOT / "bench-results"
    target.mkdir(exist_ok=True)
    text = json.dumps(found, indent=2, ensure_ascii=False)
    (target / f"hostile-{_STAMP}.json").write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
