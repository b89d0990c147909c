"""A new lead as a mail to the lead inbox of a CRM, by SMTP with TLS.

RFC 5321 and 8314. No answer of the CRM comes back: that the mail server took the mail is all that
is known.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

from services.writer.crm import OutcomeUnknown
from services.writer.crm.lead_text import as_adf, as_lines
from shared.crm.accounts import Account
from shared.domain.schema import Scalar, now
from shared.errors import ConfigurationError, CRMUnavailable, Rejected
from shared.values import email_key

Form = Callable[[str, Mapping[str, Scalar], datetime, str], str]
FORMATS: Final[Mapping[str, Form]] = {"text": as_lines, "adf": as_adf}
# By the way of encryption: the port of RFC 8314 and 6409.
PORTS: Final = {"tls": 465, "starttls": 587}


def mail_of(account: Account) -> Callable[[str, Mapping[str, Scalar]], None]:
    """Sender and recipient come from the account alone. Raises `ConfigurationError`."""
    inbox = _Inbox(account)
    return inbox.send


class _Inbox:
    def __init__(self, account: Account) -> None:
        self._host = account.need("smtp_host")
        self._encryption = _one_of(account, "smtp_encryption", PORTS, "starttls")
        self._port = int(account.number("smtp_port", PORTS[self._encryption]))
        self._user = account.options.get("smtp_user", "")
        self._password = account.need("smtp_password") if self._user else ""
        self._sender = _address(account, "mail_from")
        self._recipient = _address(account, "mail_to")
        self._form = FORMATS[_one_of(account, "format", FORMATS, "text")]
        self._vendor = account.options.get("vendor_name", account.name)
        self._timeout = account.number("timeout", 20.0)
        self._context = _context(account)

    def send(self, change_id: str, fields: Mapping[str, Scalar]) -> None:
        """Raises `CRMUnavailable`, `Rejected` (certainly not sent), or `OutcomeUnknown`."""
        mail = self._mail(change_id, self._form(change_id, fields, now(), self._vendor))
        with self._connection() as server:
            try:
                server.send_message(mail, self._sender, [self._recipient])
            except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
                raise _refused(error) from error
            except (smtplib.SMTPException, OSError) as error:
                # The server may have taken the mail before the connection ended.
                said = type(error).__name__
                raise OutcomeUnknown(f"the mail was sent and not confirmed: {said}") from error

    def _mail(self, change_id: str, text: str) -> EmailMessage:
        """No word of the record stands in a header."""
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._sender
        mail["To"] = self._recipient
        mail["Subject"] = f"New lead {change_id}"
        mail["Date"] = now()
        mail["Message-ID"] = f"<{change_id}@{self._sender.partition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(text, cte="quoted-printable")
        return mail

    @contextmanager
    def _connection(self) -> Iterator[smtplib.SMTP]:
        """Signed in, and encrypted before anything is said. Raises `CRMUnavailable`."""
        try:
            server = self._open()
        except smtplib.SMTPAuthenticationError as error:
            raise Rejected("the mail server does not accept user and password") from error
        except (smtplib.SMTPException, OSError) as error:
            said = type(error).__name__
            raise CRMUnavailable(f"the mail server cannot be reached: {said}") from error
        try:
            yield server
        finally:
            server.close()

    def _open(self) -> smtplib.SMTP:
        if self._encryption == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        try:
            if self._encryption == "starttls":
                server.starttls(context=self._context)
            if self._user:
                server.login(self._user, self._password)
        except BaseException:
            server.close()
            raise
        return server


def _refused(error: smtplib.SMTPException) -> CRMUnavailable | Rejected:
    """4yz may be tried again, 5yz may not (RFC 5321 §4.2.1); neither was taken."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code = next(iter(error.recipients.values()))[0]
    else:
        code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0
    said = f"the mail server answered {code}"
    return CRMUnavailable(said) if 400 <= code < 500 else Rejected(said)


def _address(account: Account, option: str) -> str:
    text = account.need(option)
    if not email_key(text) or any(char in text for char in "\r\n<>, "):
        raise ConfigurationError(f"the CRM account [{account.name}]: {option} is no one address")
    return text


def _one_of(account: Account, option: str, known: Mapping[str, object], default: str) -> str:
    given = account.options.get(option, default)
    if given not in known:
        choice = " or ".join(known)
        raise ConfigurationError(f"the CRM account [{account.name}]: {option} is {choice}")
    return given


def _context(account: Account) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=account.options.get("smtp_ca"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"the CRM account [{account.name}]: smtp_ca is no certificate"
        ) from error
