"""Everything at once on real servers: processes die, and links to broker, database and CRM fail."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.faults.columns import distributed
from tests.faults.killer import TURNS, Killer
from tests.faults.killing import run_through
from tests.faults.networks import FAULTS, before
from tests.faults.proxy import Proxy
from tests.faults.servers import OWN, Addresses
from tests.faults.stage import Ended, Stage
from tests.faults.tree import Wiring

# Every third fault is one of a link.
LINK_EVERY = 3


def of_everything(
    folder: Path,
    seed: int,
    *,
    faults: int = 60,
    held_seconds: float = 4,
    where: Addresses = OWN.addresses,
) -> Ended:
    """``faults`` one after the other, in seeded order; those of a link are held a while."""
    mix = random.Random(seed)
    with ExitStack() as stack:
        column = stack.enter_context(distributed(where))
        links: dict[str, Proxy] = {}
        near: dict[str, str] = {}
        probe = column.product(folder)
        for name, url in {**column.urls, "CRM_URL": probe.crm_url}.items():
            links[name], near[name] = stack.enter_context(before(url))
        wiring = Wiring(crm_url=near.pop("CRM_URL"), is_hurried=True)
        variables = {**near, "CRM_PORT": str(probe.crm_port), **wiring.variable()}
        product = column.product(folder, **variables).start()
        killer = Killer(product=product, seed=seed)

        def act() -> tuple[int, Mapping[str, Any]]:
            done: list[str] = []
            for number in range(faults):
                time.sleep(mix.random())
                if number % LINK_EVERY:
                    killer.kill(TURNS[number % len(TURNS)][:15], mix)
                    done.append(TURNS[number % len(TURNS)])
                    continue
                name, kind = mix.choice(sorted(links)), mix.choice(sorted(FAULTS))
                FAULTS[kind](links[name])
                time.sleep(held_seconds)
                links[name].heal()
                done.append(f"{name} {kind}")
            return len(done), {"done": done}

        return run_through(Stage(product=product, home=column.home(product), seed=seed), act)
