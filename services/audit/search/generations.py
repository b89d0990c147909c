"""The indices of one Elasticsearch search: a generation of months behind an alias.

``<prefix>-<generation>-YYYY.MM`` hold the documents, ``<prefix>-<generation>-position`` says how
far they go. The aliases ``<prefix>`` and ``<prefix>-position`` stand for the current generation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from services.audit.search.cluster import Cluster

FIRST = "0"
_TEMPLATE = Path(__file__).resolve().parents[3] / "deploy" / "elasticsearch" / "template.json"
_ABOVE_BUILT_IN = 500
_EXISTS = "resource_already_exists_exception"


@cache
def template() -> Mapping[str, Any]:
    """Settings and strict mapping of every index."""
    read: Mapping[str, Any] = json.loads(_TEMPLATE.read_text())
    return read


def fresh_generation() -> str:
    """A name that is new and sorts after those before it."""
    return f"{datetime.now(UTC):%y%m%d%H%M%S%f}"


@dataclass(frozen=True, kw_only=True)
class Generations:
    """Makes, lists, switches and drops indices. Raises `StoreUnavailable`."""

    cluster: Cluster
    prefix: str

    @property
    def alias(self) -> str:
        return self.prefix

    @property
    def position_alias(self) -> str:
        return f"{self.prefix}-position"

    def position(self, generation: str) -> str:
        return f"{self.prefix}-{generation}-position"

    def month(self, generation: str, at: str) -> str:
        """The index of the month of an RFC 3339 time."""
        return f"{self.prefix}-{generation}-{at[:4]}.{at[5:7]}"

    def months(self, generation: str) -> str:
        """A pattern for all months of a generation."""
        return f"{self.prefix}-{generation}-*.*"

    def current(self) -> str | None:
        """The generation that is searched; ``None`` before `create`."""
        with self.cluster.client() as client:
            found = client.options(ignore_status=404).indices.get_alias(name=self.position_alias)
        names = [name for name in found.body if name.endswith("-position")]
        # Two stand there for a moment where two processes were the first at once.
        return max(names).split("-")[1] if names else None

    def create(self) -> str:
        """Template and first generation, where they are missing; returns the current one."""
        with self.cluster.client() as client:
            client.indices.put_index_template(
                name=self.prefix,
                index_patterns=[f"{self.prefix}-*"],
                template=template(),
                priority=_ABOVE_BUILT_IN,
                allow_auto_create=False,
            )
        current = self.current()
        if current is None:
            current = FIRST
            self.begin(current, aliases={self.position_alias: {}})
        return current

    def begin(self, generation: str, aliases: Mapping[str, Any] | None = None) -> None:
        """The index of a generation's position; nobody searches it before `switch`."""
        more = {"properties": {"last": {"type": "long", "index": False}}}
        self._make(self.position(generation), mappings=more, aliases=aliases or {})

    def make_month(self, generation: str, name: str, *, is_current: bool) -> None:
        """The index of a month; in the current generation it is searched from now on.

        Raises `NotThere` where the generation is the current one no more.
        """
        self._make(name)
        if is_current:
            # The alias of the position is taken off and put back in the same step: that fails,
            # and with it all of it, where another generation has it by now.
            position = {"index": self.position(generation), "alias": self.position_alias}
            self._change(
                [
                    {"remove": {**position, "must_exist": True}},
                    {"add": position},
                    {"add": {"index": name, "alias": self.alias}},
                ]
            )

    def switch(self, generation: str) -> None:
        """From one moment to the next this generation is searched; the others are dropped."""
        with self.cluster.client() as client:
            quiet = client.options(ignore_status=404).indices
            behind = quiet.get_alias(name=f"{self.alias},{self.position_alias}").body
        old = [name for name in behind if name.startswith(f"{self.prefix}-")]
        fresh = self.names(generation)
        self._change(
            [
                *({"remove": {"index": name, "alias": "*"}} for name in old),
                *({"add": {"index": name, "alias": self.alias}} for name in fresh),
                {"add": {"index": self.position(generation), "alias": self.position_alias}},
            ]
        )
        self.drop_all_but(generation)

    def names(self, generation: str | None = None) -> list[str]:
        """The months of one generation or of all, oldest first."""
        return [name for name in self._all() if self._is_month(name, generation)]

    def drop_all_but(self, generation: str) -> None:
        kept = f"{self.prefix}-{generation}-"
        self.drop(name for name in self._all() if not name.startswith(kept))

    def drop(self, names: Iterable[str]) -> None:
        """Delete indices by name: with a pattern a slip would delete more."""
        with self.cluster.client() as client:
            for name in names:
                client.options(ignore_status=404).indices.delete(index=name)

    def drop_generation(self, generation: str) -> None:
        self.drop([*self.names(generation), self.position(generation)])

    def _all(self) -> list[str]:
        with self.cluster.client() as client:
            found = client.indices.get(index=f"{self.prefix}-*", features=["aliases"])
        return sorted(found.body)

    def _is_month(self, name: str, generation: str | None) -> bool:
        own, last = name.split("-")[1:]
        return last != "position" and generation in {None, own}

    def _make(self, name: str, **options: Any) -> None:
        import elasticsearch

        with self.cluster.client() as client:
            try:
                client.indices.create(index=name, **options)
            except elasticsearch.BadRequestError as error:
                if error.error != _EXISTS:
                    raise

    def _change(self, actions: Sequence[Mapping[str, Any]]) -> None:
        with self.cluster.client() as client:
            client.indices.update_aliases(actions=actions)
