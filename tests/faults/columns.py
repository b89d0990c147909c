"""The two columns an installation can stand on: files alone, or real servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.installation import Installation
from tests.contracts.elasticsearch import search_url
from tests.contracts.postgresql import fresh_postgresql
from tests.contracts.rabbitmq import virtual_host
from tests.faults.servers import OWN, Addresses
from tests.product import ROOT, Product


@dataclass(frozen=True, kw_only=True)
class Column:
    """``urls`` are the variables that choose the servers; without any it is files alone."""

    name: str
    urls: dict[str, str] = field(default_factory=dict)

    def product(self, folder: Path, **more: str) -> Product:
        """Not started. Its policy is the shipped one, with room for the writes of a run."""
        extra = {**self.urls, **more}
        product = Product(folder=folder, extra=extra, main=("tests.faults.tree",))
        product.crm_port = int(extra.get("CRM_PORT", product.crm_port))
        _open_the_caps(product)
        return product

    def home(self, product: Product) -> Installation:
        """Where the books lie, whatever proxies the product itself was given."""
        home: Installation = product.home(
            **{name.lower(): url for name, url in self.urls.items()},
        )
        return home


EMBEDDED = Column(name="embedded")


@contextmanager
def embedded() -> Iterator[Column]:
    yield EMBEDDED


@contextmanager
def distributed(where: Addresses = OWN.addresses) -> Iterator[Column]:
    """A virtual host and a database of their own on these servers."""
    with (
        virtual_host(where.rabbitmq, where.management) as host,
        fresh_postgresql(where.postgresql) as url,
    ):
        urls = {"BROKER_URL": host.url, "DATABASE_URL": url}
        yield Column(name="distributed", urls=urls)


@contextmanager
def indexed(where: Addresses = OWN.addresses) -> Iterator[Column]:
    """`distributed`, and its search lies in an Elasticsearch."""
    with distributed(where) as column, search_url(where.elasticsearch) as url:
        yield replace(column, urls={**column.urls, "SEARCH_URL": url})


def _open_the_caps(product: Product) -> None:
    """The shipped policy, but as many writes of a field an hour as a run needs."""
    policy = (ROOT / "deploy" / "policy.toml").read_text()
    for limit in ("per_hour = 20", "per_day = 100"):
        assert limit in policy
        policy = policy.replace(limit, f"{limit.split(' = ')[0]} = 100000")
    folder = product.folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.toml").write_text(policy)
