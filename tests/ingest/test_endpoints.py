"""The endpoints file: seen at once, written whole, for its owner only; and its commands and pages."""

from __future__ import annotations

import os
import stat
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.ingest.commands import source
from services.ingest.endpoints import Endpoints
from services.ingest.measures import measures
from services.ingest.sources import SOURCES
from services.ingest.states import endpoint_states
from services.installation import Installation, RunSettings
from services.secret_files import MADE, SecretsSettings, make_secrets
from services.wiring import endpoints_of, first_endpoints
from shared.errors import BadPayload, ConfigurationError, Conflict, NotFound
from tests.ingest.home import Home
from tests.ingest.senders import SOURCE, change
from tests.ingest.test_inbox import accept
from tests.vectors import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "endpoints.toml"


@pytest.mark.parametrize("name", SOURCES)
def test_a_fresh_secret_has_the_form_its_source_can_use(path: Path, name: str) -> None:
    endpoint = Endpoints(path).add(name)
    [secret] = endpoint.secrets
    assert Endpoints(path).find(name, "default") == endpoint
    assert len(secret) >= 18
    form = SOURCES[name].setup.form
    assert secret.startswith("whsec_") == form.startswith("whsec_")
    assert (":" in secret) == (form == "user:password")


def test_a_change_of_the_file_counts_at_once_and_for_who_has_it_open(path: Path) -> None:
    reader, writer = Endpoints(path), Endpoints(path)
    assert reader.find("zapier", "acme") is None
    writer.add("zapier", "acme", secrets=("one",))
    found = reader.find("zapier", "acme")
    assert found is not None
    assert found.secrets == ("one",)
    writer.rotate("zapier", "acme", secret="two")
    writer.rotate("zapier", "acme", secret="three")
    found = reader.find("zapier", "acme")
    assert found is not None
    assert found.secrets == ("three", "two")


def test_the_file_is_for_its_owner_only_and_keeps_every_character(path: Path) -> None:
    odd = 'a"b\\c\n\t\x7fü😀:#[]'
    Endpoints(path).add(
        "make", "odd", secrets=(odd,), public_url="https://x/y", options={"a b": odd}
    )
    found = Endpoints(path).find("make", "odd")
    assert found is not None
    assert (found.secrets, found.options, found.public_url) == ((odd,), {"a b": odd}, "https://x/y")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_secret_file_is_read_seen_when_it_changes_and_not_copied(
    path: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    path.write_text(f'[[endpoint]]\nsource = "zapier"\nsecret_files = ["{secret}"]\n')
    endpoints = Endpoints(path)
    found = endpoints.find("zapier", "default")
    assert found is not None
    assert found.secrets == ("from-file",)
    secret.write_text("another-one")
    os.utime(secret, ns=(1, 1))
    assert endpoints.find("zapier", "default").secrets == ("another-one",)  # type: ignore[union-attr]
    endpoints.add("make", secrets=("a:b",))
    assert "another-one" not in path.read_text()
    assert str(secret) in path.read_text()
    secret.unlink()
    assert endpoints.find("zapier", "default").secrets == ()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text",
    [
        "[[endpoint]",
        '[[endpoint]]\nsource = "nothing"\n',
        '[[endpoint]]\nsource = "zapier"\nname = "../x"\n',
        '[[endpoint]]\nsource = "zapier"\nsecrets = "one"\n',
        '[[endpoint]]\nsource = "zapier"\nsecrets = [1]\n',
    ],
)
def test_a_file_that_is_no_good_is_named_without_its_values(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"endpoints\.toml"):
        Endpoints(path).all()


def test_what_is_there_is_not_added_again_and_what_is_not_is_not_rotated(path: Path) -> None:
    endpoints = Endpoints(path)
    endpoints.add("zapier")
    with pytest.raises(Conflict):
        endpoints.add("zapier")
    with pytest.raises(NotFound):
        endpoints.rotate("make")
    with pytest.raises(NotFound):
        endpoints.add("nothing")


def test_the_commands_show_a_secret_once_and_end_it_when_told(path: Path) -> None:
    home, runner = Home(endpoints=path), CliRunner()
    added = runner.invoke(source, ["add", "zapier", "--name", "acme"], obj=home)
    endpoint = Endpoints(path).find("zapier", "acme")
    assert endpoint is not None
    old = endpoint.secrets[0]
    assert old in added.output
    assert "https://hooks.example.com/hooks/zapier/acme" in added.output
    listed = runner.invoke(source, ["list"], obj=home)
    assert old not in listed.output
    rotated = runner.invoke(source, ["rotate", "zapier", "--name", "acme"], obj=home)
    assert old not in rotated.output
    new, kept = Endpoints(path).find("zapier", "acme").secrets  # type: ignore[union-attr]
    assert kept == old
    [first, second] = Endpoints(path).secrets("zapier", "acme")
    dropped = runner.invoke(source, ["drop", "zapier", second.mark, "--name", "acme"], obj=home)
    assert dropped.exit_code == 0, dropped.output
    assert Endpoints(path).find("zapier", "acme").secrets == (new,)  # type: ignore[union-attr]
    again = runner.invoke(source, ["drop", "zapier", second.mark, "--name", "acme"], obj=home)
    assert isinstance(again.exception, NotFound)
    given = runner.invoke(source, ["add", "hubspot", "--secret", "-"], input="typed\n", obj=home)
    assert "typed" not in given.output
    assert Endpoints(path).find("hubspot", "default").secrets == ("typed",)  # type: ignore[union-attr]
    wrong = runner.invoke(source, ["add", "make", "--option", "header=x"], obj=home)
    assert isinstance(wrong.exception, BadPayload)
    gone = runner.invoke(source, ["remove", "zapier", "--name", "acme", "--yes"], obj=home)
    assert gone.exit_code == 0
    assert Endpoints(path).find("zapier", "acme") is None
    assert first.mark != second.mark


def test_the_test_command_says_what_the_next_request_was_and_why_it_was_refused(
    path: Path, store: Store
) -> None:
    store.web.endpoints.add("zapier", secrets=("right",))
    store.now = datetime.now(UTC) + timedelta(seconds=1)
    home, client = Home(endpoints=path), store.app().test_client()
    sender = threading.Timer(0.3, lambda: client.post("/hooks/zapier", data=b"{}"))
    sender.start()
    said = CliRunner().invoke(source, ["test", "zapier", "--seconds", "10"], obj=home)
    sender.join()
    assert said.exit_code == 1
    assert "refused, missing" in said.output
    assert "enter the secret there" in said.output
    time.sleep(max(0.0, (store.now - datetime.now(UTC)).total_seconds()))
    nothing = CliRunner().invoke(source, ["test", "zapier", "--seconds", "0"], obj=home)
    assert "nothing came" in nothing.output


def test_the_file_holds_no_secret_and_another_endpoints_does_not_open(path: Path) -> None:
    endpoints = Endpoints(path)
    endpoints.add("zapier", "one", secrets=("a-very-secret-word",))
    endpoints.add("zapier", "two", secrets=("another",))
    text = path.read_text()
    assert "a-very-secret-word" not in text
    assert stat.S_IMODE((path.parent / "keys" / "endpoints.key").stat().st_mode) == 0o600
    sealed = [line for line in text.splitlines() if line.startswith("sealed")]
    path.write_text(text.replace(sealed[1], sealed[0]))
    with pytest.raises(ConfigurationError, match="zapier/two"):
        Endpoints(path).all()


def test_a_file_of_an_earlier_version_works_as_it_is_and_is_sealed_at_the_next_start(
    path: Path,
) -> None:
    path.write_text(
        '[[endpoint]]\nsource = "zapier"\nname = "acme"\nsecrets = ["new-one", "old-one"]\n'
        'public_url = "https://x/y"\noptions = { "a" = "b" }\n'
    )
    before = Endpoints(path).find("zapier", "acme")
    assert before is not None
    assert before.secrets == ("new-one", "old-one")
    first_endpoints(Endpoints(path), "whsec_aGVsbG8=")
    assert "new-one" not in path.read_text()
    assert Endpoints(path).find("zapier", "acme") == before
    stamp = path.stat().st_mtime_ns
    first_endpoints(Endpoints(path), "whsec_aGVsbG8=")
    assert path.stat().st_mtime_ns == stamp


def test_without_its_key_nothing_opens_and_no_new_key_hides_it(path: Path) -> None:
    Endpoints(path).add("zapier", secrets=("word",))
    (path.parent / "keys" / "endpoints.key").unlink()
    with pytest.raises(ConfigurationError, match=r"endpoints\.key"):
        Endpoints(path).all()
    with pytest.raises(ConfigurationError):
        Endpoints(path).add("make")
    assert not (path.parent / "keys" / "endpoints.key").exists()


def test_a_key_that_is_lost_while_it_runs_is_not_made_anew_by_looking(path: Path) -> None:
    endpoints = Endpoints(path)
    endpoints.add("zapier", secrets=("word",))
    endpoints.all()
    (path.parent / "keys" / "endpoints.key").unlink()
    with pytest.raises(ConfigurationError, match="from backup"):
        endpoints.secrets("zapier", "default")
    with pytest.raises(ConfigurationError, match="from backup"):
        endpoints.drop("zapier", "default", "00000000")
    assert not (path.parent / "keys" / "endpoints.key").exists()


def test_a_new_sealing_key_changes_no_secret_and_no_reader_ever_misses_one(path: Path) -> None:
    endpoints = Endpoints(path)
    for name in ("one", "two", "three"):
        endpoints.add("zapier", name, secrets=(f"word-{name}",))
    before, key = path.read_bytes(), (path.parent / "keys" / "endpoints.key").read_bytes()
    wrong: list[object] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                for reader in (endpoints, Endpoints(path)):
                    found = reader.find("zapier", "two")
                    wrong.extend([] if found and found.secrets == ("word-two",) else [found])
            except ConfigurationError as error:
                wrong.append(error)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(5):
        Endpoints(path).rotate_key()
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    # Whoever has the old key alone opens nothing of today; the keys of today open what is old.
    (path.parent / "before").mkdir()
    (path.parent / "before" / "endpoints.key").write_bytes(key)
    with pytest.raises(ConfigurationError, match="does not open"):
        Endpoints(path, path.parent / "before").all()
    (path.parent / "old.toml").write_bytes(before)
    old = Endpoints(path.parent / "old.toml", path.parent / "keys")
    assert [one.secrets for one in old.all()] == [one.secrets for one in endpoints.all()]
    # As at a start after a restore: what the old key sealed is sealed with the newest.
    old.seal()
    assert b"sealed" in (path.parent / "old.toml").read_bytes() != before
    stamp = (path.parent / "old.toml").stat()
    old.seal()
    assert (path.parent / "old.toml").stat() == stamp


def test_a_rotation_that_was_cut_off_leaves_everything_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Endpoints(path).add("zapier", secrets=("word",))

    def fail(*_: object) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as full:
        full.setattr("services.ingest.endpoints.write_rows", fail)
        with pytest.raises(OSError, match="no space"):
            Endpoints(path).rotate_key()
    assert Endpoints(path).find("zapier", "default").secrets == ("word",)  # type: ignore[union-attr]
    Endpoints(path).rotate_key()
    assert Endpoints(path).find("zapier", "default").secrets == ("word",)  # type: ignore[union-attr]


def test_a_key_is_made_with_the_first_secret(path: Path) -> None:
    endpoints = Endpoints(path)
    endpoints.add("zapier", secrets=())
    assert endpoints.secrets("zapier", "default") == []
    assert not (path.parent / "keys" / "endpoints.key").exists()
    endpoints.rotate("zapier", secret="word")
    assert (path.parent / "keys" / "endpoints.key").exists()


def test_no_start_makes_a_lost_key_anew(tmp_path: Path) -> None:
    home = Installation(root=tmp_path, run=RunSettings())
    home.prepare()
    (home.keys / "endpoints.key").unlink()
    home.prepare()
    assert (home.keys / "endpoints.key").exists(), "nothing was sealed with the one before"
    endpoints_of(home).add("zapier", secrets=("word",))
    (home.keys / "endpoints.key").unlink()
    home.prepare()
    assert not (home.keys / "endpoints.key").exists()
    with pytest.raises(ConfigurationError, match=r"endpoints\.key"):
        first_endpoints(endpoints_of(home), "whsec_aGVsbG8=")


def test_a_key_that_was_handed_out_is_not_made_anew(tmp_path: Path) -> None:
    settings = SecretsSettings(secrets_dir=tmp_path)
    make_secrets(settings)
    (tmp_path / MADE / "endpoints.key").unlink()
    with pytest.raises(ConfigurationError, match="ingest-web"):
        make_secrets(settings)
    assert not (tmp_path / MADE / "endpoints.key").exists()


def test_what_cannot_be_written_leaves_no_file_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = Endpoints(path)
    endpoints.add("zapier", secrets=("word",))
    with pytest.raises(UnicodeEncodeError):
        endpoints.add("make", secrets=(), options={"a": "\ud800"})

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError):  # noqa: PT011 - ours.
        endpoints.add("make", secrets=())
    left = {one.name for one in path.parent.glob(f".{path.name}.*")}
    assert left == {f".{path.name}.lock"}
    assert [one.source for one in Endpoints(path).all()] == ["zapier"]


def test_a_secret_is_not_held_twice_and_a_form_that_is_sent_twice_rotates_once(path: Path) -> None:
    endpoints = Endpoints(path)
    endpoints.add("zapier", secrets=("one",))
    mark = endpoints.secrets("zapier", "default")[0].mark
    assert endpoints.rotate("zapier", secret="two", newest=mark).secrets == ("two", "one")
    with pytest.raises(Conflict):
        endpoints.rotate("zapier", newest=mark)
    assert endpoints.rotate("zapier", secret="two").secrets == ("two", "one")
    assert endpoints.rotate("zapier", secret="one").secrets == ("one", "two")


@pytest.mark.parametrize("name", SOURCES)
def test_every_option_has_a_hint_takes_its_own_default_and_refuses_what_it_cannot_be(
    name: str,
) -> None:
    setup = SOURCES[name].setup
    for key, option in setup.options.items():
        assert option.hint
        assert not option.default or setup.checked({key: option.default}) == {key: option.default}
        assert setup.checked({key: "  "}) == {}
        with pytest.raises(BadPayload, match=key):
            setup.checked({key: "x" * 9000})
    with pytest.raises(BadPayload, match="no option"):
        setup.checked({"surprise": "1"})


def test_the_state_of_an_endpoint_shows_its_address_its_last_request_and_no_secret(
    store: Store,
) -> None:
    endpoints = store.web.endpoints
    endpoints.add(SOURCE, secrets=("whsec_hidden",))
    endpoints.add("zapier", "acme", secrets=("hidden",))
    accept(store, "a", change("c-1"))
    accept(store, "a", change("c-1"))
    first, second = endpoint_states(store.web)
    assert first.url == "https://hooks.example.com/hooks/demo-crm"
    none = {"refused": 0, "ignored": 0, "unknown-kind": 0}
    assert first.today == {"accepted": 1, "duplicate": 1, **none}
    assert first.last is not None
    assert first.last.result in {"accepted", "duplicate"}
    assert second.url == "https://hooks.example.com/hooks/zapier/acme"
    assert second.last is None
    assert "hidden" not in repr([first, second])
    counted = {m.name: m.value for m in measures(store.web.engine, store.web.clock)}
    assert counted["countersign_inbox_unsent"] == 1
