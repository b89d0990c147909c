"""The static files of all pages: held in memory, named with the hash of what they contain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from flask import Blueprint, Response, request, url_for

from shared.access import public
from shared.errors import NotFound

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, kw_only=True)
class Asset:
    data: bytes
    type: str
    hash: str


@dataclass
class Assets:
    """The closed set of files of ``folder``; no path is ever built from a request."""

    folder: Path = FOLDER
    _files: dict[str, Asset] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for path in self.folder.iterdir():
            if path.suffix in TYPES:
                data = path.read_bytes()
                digest = hashlib.sha256(data).hexdigest()[:12]
                self._files[path.name] = Asset(data=data, type=TYPES[path.suffix], hash=digest)

    def url(self, name: str) -> str:
        """Template function ``asset``. A name that does not exist is a mistake of ours."""
        return url_for("assets.static_file", name=name, v=self._files[name].hash)

    def blueprint(self) -> Blueprint:
        blueprint = Blueprint("assets", __name__)
        files = self._files

        @blueprint.get("/static/<name>")
        @public(raw=True)
        def static_file(name: str) -> Response:
            file = files.get(name)
            if file is None:
                raise NotFound("There is no such file.")
            response = Response(file.data, content_type=file.type)
            is_named = request.args.get("v") == file.hash
            response.headers["Cache-Control"] = FOR_EVER if is_named else "public, no-cache"
            response.set_etag(file.hash)
            response.make_conditional(request)
            return response

        return blueprint
