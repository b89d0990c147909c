"""Setting endpoints up on pages and through the API: one schema and one view for each act."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, jsonify, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from marshmallow import RAISE, Schema, fields, validate

from services.ingest import setting_up
from services.ingest.deps import WebDeps
from services.ingest.setting_up import Opened
from services.ingest.states import source_named
from shared.access import current_person, flash, role, wants_json
from shared.forms import posted

PREFIX = "option-"
SHORT = validate.Length(max=500)
LONG = validate.Length(max=10_000)


class Rotation(Schema):
    class Meta:
        unknown = RAISE

    secret = fields.String(load_default="", validate=LONG)
    newest = fields.String(load_default=None, validate=SHORT)


class Dropping(Schema):
    class Meta:
        unknown = RAISE

    mark = fields.String(required=True, validate=SHORT)


class Keeping(Schema):
    class Meta:
        unknown = RAISE

    days = fields.Integer(required=True)


class Nothing(Schema):
    class Meta:
        unknown = RAISE


@functools.cache
def _settings(source: str) -> type[Schema]:
    """The public address and the options that the source declares, as ``option-<name>``."""
    options = source_named(source).setup.options
    asked: dict[str, Any] = {
        f"{PREFIX}{name}": fields.String(load_default="", validate=LONG) for name in options
    }
    address = {"public_url": fields.String(load_default="", validate=SHORT)}
    return Nothing.from_dict({**asked, **address}, name=f"Settings_{source}")


@functools.cache
def _opening(source: str) -> type[Schema]:
    """As `_settings`, with the name and the secret of a new endpoint."""
    more: dict[str, Any] = {
        "name": fields.String(load_default="", validate=SHORT),
        "secret": fields.String(load_default="", validate=LONG),
    }
    return _settings(source).from_dict(more, name=f"Opening_{source}")


def add_acts(blueprint: Blueprint, deps: WebDeps) -> None:
    """Each act under ``/status/sources`` and under ``/api/sources``."""
    _add_opening(blueprint, deps)
    _add_secrets(blueprint, deps)
    _add_the_rest(blueprint, deps)


def _add_opening(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.post("/status/sources/<source>")
    @blueprint.post("/api/sources/<source>", endpoint="api_open")
    @role("admin")
    def open_(source: str) -> ResponseReturnValue:
        source_named(source)
        given = posted(_opening(source))
        opened = setting_up.open_endpoint(
            deps,
            source,
            actor=_actor(),
            name=given["name"].strip(),
            secret=given["secret"],
            public_url=given["public_url"],
            options=_options(given),
        )
        return _shown_once(deps, opened, "is open", 201)

    @blueprint.post("/status/sources/<source>/<name>/remove")
    @blueprint.post("/api/sources/<source>/<name>/remove", endpoint="api_remove")
    @role("admin")
    def remove(source: str, name: str) -> ResponseReturnValue:
        posted(Nothing)
        setting_up.remove_endpoint(deps, source, name, actor=_actor())
        if wants_json():
            return "", 204
        flash(f"The endpoint {name} of {source_named(source).title} is removed.")
        return redirect(url_for("sources.page"), 303)


def _add_secrets(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.post("/status/sources/<source>/<name>/rotate")
    @blueprint.post("/api/sources/<source>/<name>/rotate", endpoint="api_rotate")
    @role("admin")
    def rotate(source: str, name: str) -> ResponseReturnValue:
        given = posted(Rotation)
        opened = setting_up.rotate_secret(deps, source, name, actor=_actor(), **given)
        return _shown_once(deps, opened, "has a new secret", 200)

    @blueprint.post("/status/sources/<source>/<name>/drop")
    @blueprint.post("/api/sources/<source>/<name>/drop", endpoint="api_drop")
    @role("admin")
    def drop(source: str, name: str) -> ResponseReturnValue:
        mark = posted(Dropping)["mark"]
        setting_up.drop_secret(deps, source, name, mark, actor=_actor())
        return _back(source, name, f"The secret {mark} opens nothing any more.")


def _add_the_rest(blueprint: Blueprint, deps: WebDeps) -> None:
    @blueprint.post("/status/sources/<source>/<name>/options")
    @blueprint.post("/api/sources/<source>/<name>/options", endpoint="api_options")
    @role("admin")
    def options(source: str, name: str) -> ResponseReturnValue:
        source_named(source)
        given = posted(_settings(source))
        setting_up.configure(
            deps,
            source,
            name,
            actor=_actor(),
            options=_options(given),
            public_url=given["public_url"],
        )
        return _back(source, name, "Saved. It counts from the next request on.")

    @blueprint.post("/status/sources/<source>/retention")
    @blueprint.post("/api/sources/<source>/retention", endpoint="api_retention")
    @role("admin")
    def retention(source: str) -> ResponseReturnValue:
        days = posted(Keeping)["days"]
        setting_up.keep_raw(deps, source, days, actor=_actor())
        return _back(source, None, f"Raw bytes are kept for {days} days.")


def _actor() -> str:
    return f"person:{current_person().id}"


def _options(given: Mapping[str, str]) -> dict[str, str]:
    return {
        key.removeprefix(PREFIX): value for key, value in given.items() if key.startswith(PREFIX)
    }


def _shown_once(deps: WebDeps, opened: Opened, what: str, status: int) -> ResponseReturnValue:
    """The secret stands in this one answer and is not kept in a form that can be read again."""
    endpoint = opened.endpoint
    setup = source_named(endpoint.source).setup
    url = endpoint.public_url or f"{deps.public_url}{endpoint.path}"
    if wants_json():
        told = {
            "source": endpoint.source,
            "name": endpoint.name,
            "url": url,
            "secret": opened.secret,
            "screen": setup.screen,
            "credential": setup.credential,
        }
        return jsonify(told), status
    page = render_template(
        "ingest/opened.html",
        endpoint=endpoint,
        source=source_named(endpoint.source),
        url=url,
        secret=opened.secret,
        parts=_parts(opened.secret or "", setup.form),
        what=what,
    )
    return page, status


def _parts(secret: str, form: str) -> list[tuple[str, str]]:
    """A secret as the sender asks for it: user and password stand in fields of their own."""
    if form != "user:password":
        return [("Secret", secret)]
    user, _, password = secret.partition(":")
    return [("User", user), ("Password", password)]


def _back(source: str, name: str | None, text: str) -> ResponseReturnValue:
    if wants_json():
        return "", 204
    flash(text)
    if name is None:
        return redirect(url_for("sources.one", source=source), 303)
    return redirect(url_for("sources.endpoint", source=source, name=name), 303)
