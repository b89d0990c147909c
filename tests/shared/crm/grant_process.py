"""One process that needs a token: prints it, or the error; may die at a named point.

``python grant_process.py DATABASE KEY TOKEN_URL [POINT]``
"""

from __future__ import annotations

import os
import signal
import sys

from shared.crm.granted import Granted
from shared.crm.grants import Grants
from shared.crm.oauth import CodeFlow
from shared.errors import PipelineError
from shared.faultpoints import wire_killer
from tests.fakes.token_endpoint import CLIENT


def main(database: str, key: str, token_url: str, point: str = "") -> None:
    def kill(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    wire_killer(kill)
    flow = CodeFlow(
        authorize_url="",
        token_url=token_url,
        client_id=CLIENT[0],
        client_secret=CLIENT[1],
        redirect_url="https://example.com/back",
    )
    held = Granted(Grants.at(database, key), "jobber", flow.next, patience=20.0)
    sys.stdin.readline()  # All begin at the same moment.
    try:
        print(held.headers()["Authorization"])
    except PipelineError as error:
        print(type(error).__name__, error)


if __name__ == "__main__":
    main(*sys.argv[1:])
