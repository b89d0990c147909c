"""A mail server on loopback that speaks enough of RFC 5321 and 3207, and refuses on cue."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass
class Mailbox:
    """``answers`` replace what the server says to a command; ``None`` hangs up instead."""

    port: int = 0
    ca: str = ""
    mails: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    in_clear: list[str] = field(default_factory=list)
    answers: dict[str, str | None] = field(default_factory=dict)
    loses_confirmations: bool = False


def _certificate(folder: Path) -> tuple[Path, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.now(UTC) - timedelta(hours=1)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    certificate = made.public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "smtp.pem"
    path.write_bytes(private + certificate)
    return path, certificate.decode()


class _Session(socketserver.StreamRequestHandler):
    mailbox: Mailbox
    context: ssl.SSLContext

    def handle(self) -> None:
        self.sender, self.recipients, self.is_encrypted = "", list[str](), False
        self.say("220 mail.example.com")
        with contextlib.suppress(OSError):
            self._converse()

    def _converse(self) -> None:
        while line := self.rfile.readline().decode().strip():
            command = line.partition(" ")[0].upper()
            if not self.is_encrypted:
                self.mailbox.in_clear.append(command)
            if command in self.mailbox.answers:
                scripted = self.mailbox.answers[command]
                if scripted is None:
                    return
                self.say(scripted)
            elif not getattr(self, f"on_{command.lower()}", self.on_unknown)(line):
                return

    def finish(self) -> None:
        """The socket of TLS is another one than the server's own, and nobody else closes it."""
        for one in (self.wfile, self.rfile, self.request):
            with contextlib.suppress(OSError):
                one.close()

    def say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")

    def on_unknown(self, _: str) -> bool:
        self.say("500 unknown")
        return True

    def on_ehlo(self, _: str) -> bool:
        self.say("250-mail.example.com\r\n250 AUTH PLAIN" if self.is_encrypted else
                 "250-mail.example.com\r\n250 STARTTLS")  # fmt: skip
        return True

    def on_starttls(self, _: str) -> bool:
        self.say("220 go on")
        self.request = self.context.wrap_socket(self.request, server_side=True)
        self.rfile = self.request.makefile("rb")
        self.wfile = self.request.makefile("wb", buffering=0)
        self.is_encrypted = True
        return True

    def on_auth(self, line: str) -> bool:
        said = base64.b64decode(line.split()[2]).decode().split("\0")
        self.mailbox.logins.append(said[1])
        self.say("235 welcome" if said[2] == "secret" else "535 who are you")
        return True

    def on_mail(self, line: str) -> bool:
        self.sender, self.recipients = line, []
        self.say("250 ok")
        return True

    def on_rcpt(self, line: str) -> bool:
        self.recipients.append(line)
        self.say("250 ok")
        return True

    def on_data(self, _: str) -> bool:
        self.say("354 go on")
        content = b""
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            content += line
        self.mailbox.mails.append((self.sender, self.recipients, content))
        if self.mailbox.loses_confirmations:
            return False
        self.say(self.mailbox.answers.get("END") or "250 taken")
        return True

    def on_quit(self, _: str) -> bool:
        self.say("221 bye")
        return False


@contextmanager
def mail_server(folder: Path) -> Iterator[Mailbox]:
    path, ca = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    mailbox = Mailbox(ca=ca)
    session = type("Session", (_Session,), {"mailbox": mailbox, "context": context})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), session) as server:
        server.daemon_threads = True
        mailbox.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield mailbox
        finally:
            server.shutdown()
            thread.join()
