"""Serves a vendor's double with sample people: ``python -m tests.fakes hubspot``.

Prints one line of JSON: the accounts by name with the options of both sides, the object type and
fields of a person, and what this vendor cannot do. It ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict

import pytest

from tests.fakes.demonstrations import DEMONSTRATIONS


def main(vendor: str) -> None:
    found = DEMONSTRATIONS.get(vendor)
    if found is None:
        sys.exit(f"there are {', '.join(DEMONSTRATIONS)}")
    names = [vendor, *([f"{vendor}-test"] if found.has_test_account else [])]
    with contextlib.ExitStack() as stack:
        try:
            running = {name: stack.enter_context(found.run(name)) for name in names}
        except pytest.skip.Exception as error:
            sys.exit(str(error))  # What a double is made from is not everywhere.
        said = {
            "accounts": {name: _plain(asdict(one)) for name, one in running.items()},
            "people": found.people,
            "fields": found.fields,
            "remarks": found.remarks,
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


def _plain(options: dict[str, object]) -> dict[str, object]:
    return {side: dict(one) for side, one in options.items()}  # type: ignore[call-overload]


if __name__ == "__main__":
    main(sys.argv[1])
