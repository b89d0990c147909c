"""What commands work on in a process of the distributed form, where there is no installation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.serving import CrmSettings
from shared.errors import ConfigurationError
from shared.settings import load_settings, setting

if TYPE_CHECKING:
    from shared.notifications.channels import Channels


@dataclass(frozen=True, kw_only=True)
class OwnEnvironment:
    """What a command works on in a process of the distributed form: that process's environment.

    It stands where `Installation` stands on one machine. What the process was not given raises
    `ConfigurationError` naming it.
    """

    given: Mapping[str, str]

    def environment(self, _service: str, _role: str) -> Mapping[str, str]:
        return self.given

    @property
    def people(self) -> Path:
        return Path(self._value("people_file"))

    @property
    def endpoints(self) -> Path:
        return Path(self._value("endpoints_file"))

    @property
    def keys(self) -> Path:
        return Path(self._value("keys_dir"))

    @property
    def wake(self) -> Path:
        return Path(self._value("wake_dir"))

    @property
    def mailboxes(self) -> Path:
        return Path(self._value("mailboxes_file"))

    def channels(self) -> Channels:
        """Whom notices of this process reach."""
        from shared.notifications.channels import Channels
        from shared.notifications.telling import NoticeSettings

        settings = load_settings(NoticeSettings, self.given)
        return Channels(file=settings.notices_file, urls=settings.notice_urls)

    @property
    def policy(self) -> Path:
        return Path(self._value("policy_file"))

    def crms(self, *, write: bool) -> Path:
        """The CRM accounts of one side."""
        return Path(self._value("crms_write_file" if write else "crms_read_file"))

    @property
    def public_url(self) -> str:
        return self._value("public_url").rstrip("/")

    @property
    def door_url(self) -> str:
        """The front door as this process reaches it."""
        return self._value("door_url").rstrip("/")

    @property
    def bus_url(self) -> str:
        return self._value("broker_url")

    def database(self, service: str) -> str:
        from services.rights import SESSIONS

        return self._value("sessions_url" if service == SESSIONS else "database_url")

    def demo_crm(self) -> Any:
        """The demo CRM's own database, for putting the samples back."""
        from services.demo_crm.app import create_app

        settings = load_settings(CrmSettings, self.given)
        return create_app(settings.crm_file, settings.crm_read_token, settings.crm_write_token)

    def _value(self, name: str) -> str:
        from services.processes import holders

        one: Any = load_settings(_single(name), self.given)
        value: str = getattr(one, name)
        if not value:
            raise ConfigurationError(
                f"{name.upper()} is not given to this process: run the command in "
                f"{' or '.join(holders(name)) or 'another'}"
            )
        return value


def _single(name: str) -> type:
    """A settings class of one secret text."""
    field = setting("", default="", secret=True)
    return dataclasses.make_dataclass("Single", [(name, str, field)], frozen=True, kw_only=True)
