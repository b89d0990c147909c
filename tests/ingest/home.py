"""What the commands of ingest work on, in a folder of a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.ingest.store import metadata
from shared.db import open_database


@dataclass(frozen=True, kw_only=True)
class Home:
    endpoints: Path
    public_url: str = "https://hooks.example.com"

    def environment(self, _service: str, _role: str) -> dict[str, str]:
        folder = self.endpoints.parent
        url = f"sqlite:///{folder}/ingest.db"
        engine = open_database(url, pooled=False)
        metadata.create_all(engine)
        engine.dispose()
        return {
            "DATABASE_URL": url,
            "WAKE_DIR": str(folder / "run"),
            "RAW_DIR": str(folder / "raw"),
            "PUBLIC_URL": self.public_url,
            "ENDPOINTS_FILE": str(self.endpoints),
            "KEYS_DIR": str(folder / "keys"),
        }
