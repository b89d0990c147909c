"""A real IMAP server of one's own: Debian's dovecot, unprivileged, on ports of loopback."""

from __future__ import annotations

import imaplib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = "the-right-one"
START_SECONDS = 15
DEBIAN_PLACE = "/usr/sbin/dovecot"
CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
disable_plaintext_auth = no
auth_failure_delay = 0
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
mail_location = maildir:{folder}/mail/%u
mailbox_idle_check_interval = 1s
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class Dovecot:
    """Any user may sign in with `PASSWORD`, and has a mailbox of his own."""

    folder: Path
    port: int = field(default_factory=_free_port)
    tls_port: int = field(default_factory=_free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def certificate(self) -> Path:
        return self.folder / "cert.pem"

    def start(self) -> None:
        is_root = os.geteuid() == 0
        user = "nobody" if is_root else pwd.getpwuid(os.geteuid()).pw_name
        self._configure(user)
        as_user = {"user": user, "group": "nogroup", "extra_groups": []} if is_root else {}
        self.process = subprocess.Popen(
            [_program() or DEBIAN_PLACE, "-F", "-c", str(self.folder / "dovecot.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **as_user,  # type: ignore[call-overload]
        )
        self._wait()

    def stop(self) -> None:
        """By its number, and whatever it has started with it."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process = None

    @contextmanager
    def account(self, user: str) -> Iterator[imaplib.IMAP4]:
        """As the person whose mailbox it is."""
        with imaplib.IMAP4("127.0.0.1", self.port, timeout=30) as client:
            client.login(user, PASSWORD)
            yield client

    def deliver(self, user: str, *mails: bytes, folder: str = "INBOX", flags: str = "") -> None:
        with self.account(user) as client:
            for mail in mails:
                kind, said = client.append(folder, flags, None, mail)  # type: ignore[arg-type]
                assert kind == "OK", said

    def flags(self, user: str, folder: str = "INBOX") -> list[str]:
        """The flags of each mail in the order of their numbers."""
        with self.account(user) as client:
            client.select(folder, readonly=True)
            _, found = client.fetch("1:*", "(FLAGS)")
            return [one.decode() for one in found if isinstance(one, bytes)]

    def drop_raw(self, user: str, content: bytes) -> None:
        """A file in the mailbox that no IMAP client could have put there."""
        new = self.folder / "mail" / user / "new"
        with self.account(user) as client:
            client.select()
        path = new / f"{time.time_ns()}.raw.test"
        path.write_bytes(content)
        path.chmod(0o644)

    def _configure(self, user: str) -> None:
        group = "nogroup" if user == "nobody" else _group_of(user)
        (self.folder / "mail").mkdir(exist_ok=True)
        if not self.certificate.exists():
            _certify(self.folder)
        text = CONFIG.format(
            folder=self.folder,
            user=user,
            group=group,
            password=PASSWORD,
            port=self.port,
            tls_port=self.tls_port,
        )
        (self.folder / "dovecot.conf").write_text(text)
        if user == "nobody":
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, user, "nogroup")

    def _wait(self) -> None:
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            with suppress(OSError, imaplib.IMAP4.error), self.account("first"):
                return
            time.sleep(0.05)
        log = self.folder / "log"
        raise AssertionError(log.read_text()[-2000:] if log.exists() else "dovecot did not start")


@contextmanager
def dovecot() -> Iterator[Dovecot]:
    """A running server. Without one on the machine the test is skipped; in CI it fails."""
    if _program() is None:
        reason = "no dovecot: apt-get install dovecot-imapd"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="dovecot-"))
    server = Dovecot(folder=folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _program() -> str | None:
    """It lies where an ordinary user does not search."""
    return shutil.which("dovecot") or shutil.which(DEBIAN_PLACE)


def _group_of(user: str) -> str:
    import grp

    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name


def _certify(folder: Path) -> None:
    """A certificate that is its own authority, for the name ``localhost`` alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "key.pem").write_bytes(private)
