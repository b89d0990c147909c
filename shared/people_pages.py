"""The admin's page and API about people, and everybody's page about their own account."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from marshmallow import RAISE, Schema, fields, validate

from shared.access import ROLES, current_person, door, flash, role, session_token, wants_json
from shared.domain.schema import ID, Many
from shared.errors import Forbidden, NotFound
from shared.forms import posted
from shared.people import People
from shared.people_file import Account
from shared.roles import WHAT_FOR
from shared.sessions import Sessions, session_id


class NewPerson(Schema):
    class Meta:
        unknown = RAISE

    name = fields.String(required=True, validate=validate.Length(max=100))
    email = fields.String(load_default=None, allow_none=True)
    roles = Many(fields.String(validate=validate.OneOf(ROLES)), required=True)


class NewRoles(Schema):
    class Meta:
        unknown = RAISE

    roles = Many(fields.String(validate=validate.OneOf(ROLES)), load_default=())


class NewToken(Schema):
    class Meta:
        unknown = RAISE

    name = fields.String(required=True, validate=ID)


class NewPassword(Schema):
    class Meta:
        unknown = RAISE

    current_password = fields.String(load_default="")
    password = fields.String(required=True)


class Nothing(Schema):
    class Meta:
        unknown = RAISE


def people_blueprint(people: People, sessions: Sessions) -> Blueprint:
    """``/people`` and ``/api/people``: form and API post to the same views."""
    blueprint = Blueprint("people", __name__)

    @blueprint.get("/people")
    @role("admin", "auditor")
    def page() -> ResponseReturnValue:
        return render_template("people.html", people=people.all(), what_for=WHAT_FOR)

    @blueprint.get("/api/people")
    @role("admin", "auditor")
    def listing() -> ResponseReturnValue:
        return jsonify({"people": [_plain(account) for account in people.all()]})

    @blueprint.get("/people/<person>")
    @role("admin", "auditor")
    def one(person: str) -> ResponseReturnValue:
        account = _existing(people, person)
        return render_template(
            "person.html", account=account, what_for=WHAT_FOR, sessions=sessions.of(account.id)
        )

    _add_acts(blueprint, people, sessions)
    return blueprint


def _add_acts(blueprint: Blueprint, people: People, sessions: Sessions) -> None:
    @blueprint.post("/people")
    @blueprint.post("/api/people", endpoint="api_add")
    @role("admin")
    def add() -> ResponseReturnValue:
        given = posted(NewPerson)
        account = people.add(
            given["name"], email=given["email"], roles=given["roles"], by=current_person().id
        )
        return _with_link(people, account, 201)

    @blueprint.post("/people/<person>/link")
    @blueprint.post("/api/people/<person>/link", endpoint="api_link")
    @role("admin")
    def link(person: str) -> ResponseReturnValue:
        posted(Nothing)
        return _with_link(people, _existing(people, person), 200)

    @blueprint.post("/people/<person>/roles")
    @blueprint.post("/api/people/<person>/roles", endpoint="api_roles")
    @role("admin")
    def roles(person: str) -> ResponseReturnValue:
        chosen = posted(NewRoles)["roles"]
        account = people.set_roles(person, chosen, by=current_person().id)
        return _changed(account, f"{account.name} now has: {', '.join(account.roles)}.")

    @blueprint.post("/people/<person>/disable")
    @blueprint.post("/api/people/<person>/disable", endpoint="api_disable")
    @role("admin")
    def disable(person: str) -> ResponseReturnValue:
        posted(Nothing)
        account = people.disable(person, by=current_person().id)
        sessions.end_all(account.id)
        return _changed(account, f"{account.name} is disabled and signed out everywhere.")

    @blueprint.post("/people/<person>/enable")
    @blueprint.post("/api/people/<person>/enable", endpoint="api_enable")
    @role("admin")
    def enable(person: str) -> ResponseReturnValue:
        posted(Nothing)
        account = people.enable(person, by=current_person().id)
        return _changed(account, f"{account.name} is enabled. A new link signs them in.")


def account_blueprint(people: People, sessions: Sessions) -> Blueprint:
    """``/account``: one's own sessions, API tokens and password."""
    blueprint = Blueprint("account", __name__)

    @blueprint.get("/account")
    @role(*ROLES)
    def page() -> ResponseReturnValue:
        return _account_page(people, sessions)

    @blueprint.get("/api/account")
    @role(*ROLES)
    def me() -> ResponseReturnValue:
        return jsonify(_plain(_existing(people, current_person().id)))

    @blueprint.post("/account/sessions/<session>/end")
    @role(*ROLES)
    def end_session(session: str) -> ResponseReturnValue:
        if len(session) < 16:
            raise NotFound("There is no such session.")
        sessions.end_one(current_person().id, session)
        return _back("That session has ended.")

    @blueprint.post("/account/sign-out-everywhere")
    @role(*ROLES)
    def sign_out_everywhere() -> ResponseReturnValue:
        sessions.end_all(current_person().id)
        flash("You are signed out everywhere.", "info")
        return redirect(url_for("sign_in.page"), 303)

    _add_secrets(blueprint, people, sessions)
    return blueprint


def _add_secrets(blueprint: Blueprint, people: People, sessions: Sessions) -> None:
    @blueprint.post("/account/tokens")
    @role(*ROLES)
    def make_token() -> ResponseReturnValue:
        _refuse_tokens()
        name = posted(NewToken)["name"]
        return _account_page(people, sessions, token=people.make_token(current_person().id, name))

    @blueprint.post("/account/tokens/<token>/drop")
    @role(*ROLES)
    def drop_token(token: str) -> ResponseReturnValue:
        people.drop_token(current_person().id, token)
        return _back("The token is void.")

    @blueprint.post("/account/password")
    @role(*ROLES)
    def set_password() -> ResponseReturnValue:
        _refuse_tokens()
        given, me = posted(NewPassword), current_person()
        account = _existing(people, me.id)
        # Whoever came by a link may have forgotten the password; that is what links are for.
        must_know = account.password and me.auth_level != "link"
        if must_know and people.check_password(me.id, given["current_password"]) is None:
            raise Forbidden("The current password is not right.")
        people.set_password(me.id, given["password"])
        return _back("The new password is in force.")


def _account_page(people: People, sessions: Sessions, token: str | None = None) -> str:
    person = current_person()
    return render_template(
        "account.html",
        account=_existing(people, person.id),
        sessions=sessions.of(person.id),
        this_session=session_id(session_token() or ""),
        token=token,
        what_for=WHAT_FOR,
    )


def _with_link(people: People, account: Account, status: int) -> ResponseReturnValue:
    """The link is shown to the admin this once; it is not stored in a form that can be read."""
    secret = people.make_link(account.id)
    url = f"{door().public_url.rstrip('/')}/sign-in/{secret}"
    if wants_json():
        return jsonify({"person": _plain(account), "link": url}), status
    return render_template("person_link.html", account=account, link=url), status


def _changed(account: Account, text: str) -> ResponseReturnValue:
    if wants_json():
        return jsonify({"person": _plain(account)})
    flash(text)
    return redirect(url_for("people.one", person=account.id), 303)


def _back(text: str) -> ResponseReturnValue:
    if wants_json():
        return "", 204
    flash(text)
    return redirect(url_for("account.page"), 303)


def _existing(people: People, person: str) -> Account:
    account = people.get(person)
    if account is None:
        raise NotFound("There is no such person.")
    return account


def _refuse_tokens() -> None:
    if current_person().auth_level == "token":
        raise Forbidden("A token cannot make tokens or passwords: sign in for that.")


def _plain(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "email": account.email,
        "roles": list(account.roles),
        "disabled": account.disabled,
        "aliases": list(account.aliases),
    }
