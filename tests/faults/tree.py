"""The product's own process tree with faults wired in: what a round starts in place of `run`.

Everything below is done from outside, by this program; the product itself has no such door.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from services import declarations, embedded, supervisor
from services.__main__ import _welcome
from services.installation import Installation, RunSettings
from services.writer import apply, service
from shared.faultpoints import wire_killer
from shared.logs import configure_logs
from shared.service import Service
from shared.settings import load_settings

VARIABLE = "FAULTS"
# A tree that dies all day long would otherwise mostly pause.
LONGEST_PAUSE = 0.5
LIKELIHOOD = 0.5
# Five deaths over one message park it, as they should. Who has lived this long is past the
# message that the process before it died of.
YOUTH_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """``points``: a folder whose files name the points to die at. ``crm_url``: a proxy before the
    CRM. ``moods``: a file; while it is there, some calls of the CRM fail. ``is_hurried``: what
    waits for a clock waits less, so that a short run reaches it too.
    """

    points: str = ""
    crm_url: str = ""
    moods: str = ""
    is_hurried: bool = False

    def variable(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(self.__dict__)}


@dataclass(frozen=True, kw_only=True)
class Behind(Installation):
    """The CRM is reached through ``crm_proxy``, if there is one."""

    crm_proxy: str

    def environment(self, service: str, role: str) -> dict[str, str]:
        found = super().environment(service, role)
        if self.crm_proxy and "CRM_URL" in found:
            found["CRM_URL"] = self.crm_proxy
        return found


def killer(folder: Path) -> Callable[[str], None]:
    """Dies at a point whose file lies in ``folder``; the file goes to whoever takes it first.

    Not at the first chance each time: the tenth message may lie otherwise than the first.
    """
    seen: set[str] = set()
    born: dict[int, float] = {}

    def reached(name: str) -> None:
        if name not in seen:
            seen.add(name)
            (folder / f"{name}.seen").touch()
        age = time.monotonic() - born.setdefault(os.getpid(), time.monotonic())
        armed = folder / f"{name}.armed"
        if age < YOUTH_SECONDS or not armed.exists() or random.random() > LIKELIHOOD:
            return
        with contextlib.suppress(FileNotFoundError):
            armed.rename(folder / f"{name}.{os.getpid()}.killed")
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def moody(app: Any, switch: Path) -> Any:
    """The CRM, but while ``switch`` is there some calls fail before their effect, some after it."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        is_write = environ["REQUEST_METHOD"] != "GET"
        likelihood = 0.4 if is_write else 0.01
        is_call = environ["PATH_INFO"].startswith("/api/")
        if not is_call or random.random() > likelihood or not switch.exists():
            return app(environ, start_response)  # type: ignore[no-any-return]
        status = random.choice(("429 Slow Down", "500 Oops", "500 After All", "503 Busy"))
        if is_write and status == "500 After All":
            b"".join(app(environ, lambda *_: None))
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", "2")])
        return [b"{}"]

    return answer


def hurry() -> None:
    """A record's lock ends sooner, and with it the wait of the completer; the log is sealed often."""
    apply.LOCK = service.LOCK = timedelta(seconds=12)
    apply.MARGIN = timedelta(seconds=3)
    declarations.SERVICES = tuple(_hurried(one) for one in declarations.SERVICES)


def _hurried(one: Service) -> Service:
    assert one.worker is not None
    loops = tuple(replace(loop, seconds=min(loop.seconds, 3)) for loop in one.worker.loops)
    return replace(one, worker=replace(one.worker, loops=loops))


def main() -> None:
    configure_logs()
    wiring = Wiring(**json.loads(os.environ.pop(VARIABLE, "{}")))
    run = load_settings(RunSettings)
    home = Behind(root=run.data_dir.resolve(), run=run, crm_proxy=wiring.crm_url)
    is_first = home.prepare()
    supervisor.LONGEST_PAUSE = LONGEST_PAUSE
    if wiring.moods:
        _make_moody(Path(wiring.moods))
    if wiring.is_hurried:
        hurry()
    tree = embedded.supervise(home)
    _welcome(home, is_first=is_first)
    if wiring.points:
        wire_killer(killer(Path(wiring.points)))
    tree.run()


def _make_moody(switch: Path) -> None:
    from services.demo_crm import app

    plain = app.create_app
    app.create_app = lambda *args, **more: moody(plain(*args, **more), switch)  # type: ignore[assignment]


if __name__ == "__main__":
    main()
