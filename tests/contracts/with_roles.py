"""``countersign run`` where each part signs in to PostgreSQL as its own role, with no right more.

In one process tree the parts share one user; here they do not, as on machines of their own. The
database of ``DATABASE_URL`` is migrated by its owner first, who then grants the rights.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import make_url

from services import rights
from services.embedded import prepare_databases, supervise
from services.installation import Installation, RunSettings
from services.wiring import endpoints_of, first_admin, first_endpoints
from shared.db import in_schema, open_database
from shared.logs import configure_logs
from shared.settings import load_settings


@dataclass(frozen=True, kw_only=True)
class Separated(Installation):
    """The URL of each part names the role of its service; the sessions are read by the pages."""

    def database(self, name: str) -> str:
        role = "writer" if name == "sessions" else name
        return in_schema(_as(self.run.database_url, role), name)

    @property
    def books(self) -> str:
        return _as(self.run.database_url, rights.RECONCILER)


def _as(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string(hide_password=False)


def main() -> None:
    configure_logs()
    settings = load_settings(RunSettings)
    root = settings.data_dir.resolve()
    owners = Installation(root=root, run=settings)
    is_first = owners.prepare()
    prepare_databases(owners)
    owner = open_database(settings.database_url)
    rights.grant(owner)
    owner.dispose()
    if is_first:
        first_endpoints(endpoints_of(owners), owners.crm_webhook_secret)
        first_admin(owners)
    supervise(Separated(root=root, run=settings)).run()


if __name__ == "__main__":
    main()
