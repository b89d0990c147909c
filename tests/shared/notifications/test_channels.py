"""The file of channels: strict, for its owner alone, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.notifications.channels import Channels, Digest, Hours

GOOD = """
[[channel]]
name = "team"
url = "json://user:hunter2-secret@127.0.0.1/room"
tells = ["card", "alarm"]
digest = "hourly"
hours = "strict"
delay_minutes = 5

[[channel]]
name = "ada"
url = "json://127.0.0.1/ada"
person = "ada"
tells = ["card", "reminder"]
"""


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "notices.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_gives_its_channels_and_the_setting_one_more(tmp_path: Path) -> None:
    team, ada, admin = Channels(file=written(tmp_path, GOOD), urls="json://127.0.0.1/admin")()
    assert (team.digest, team.hours, team.delay_minutes) == (Digest.HOURLY, Hours.STRICT, 5)
    assert (ada.person, ada.tells) == ("ada", ("card", "reminder"))
    assert (admin.name, admin.person) == ("admin", None)
    assert "hunter2" not in repr([team, ada, admin])


def test_without_a_file_nobody_is_told(tmp_path: Path) -> None:
    assert Channels(file=tmp_path / "notices.toml")() == ()


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Channels(file=written(tmp_path, GOOD, mode=0o640))()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[[channel]", "TOML"),
        ("[[chanel]]\nname = 'x'", "unknown: chanel"),
        (GOOD.replace('"hourly"', '"hunter2-secret"'), "digest"),
        (GOOD.replace("delay_minutes = 5", "delay_minutes = -1"), "delay_minutes"),
        (GOOD.replace('["card", "reminder"]', '["card", "alarm"]'), "a person's channel"),
        (GOOD.replace('name = "ada"', 'name = "team"'), "same name"),
        (GOOD.replace("delay_minutes", "delay"), "delay"),
    ],
)
def test_a_wrong_file_is_named_without_its_secrets(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as refused:
        Channels(file=written(tmp_path, text))()
    assert "hunter2" not in str(refused.value)
