"""Recognising disks on which SQLite's locks and shared memory cannot be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shared.errors import ConfigurationError

MOUNTS = Path("/proc/mounts")

NETWORK: Final = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb",
        "smb3",
        "smbfs",
        "sshfs",
    }
)


def refuse_network_disk(path: str | Path, *, mounts: Path = MOUNTS) -> None:
    """Raise `ConfigurationError` if ``path`` lies on a network file system.

    The file need not exist yet. Where the table of mounts cannot be read, nothing is refused.
    WAL needs memory shared by all readers, which no network file system gives:
    https://www.sqlite.org/wal.html#overview
    """
    kind = _kind_of_disk(Path(path).resolve(), mounts)
    if kind in NETWORK or kind.startswith("fuse."):
        raise ConfigurationError(
            f"{path} lies on a network file system ({kind}), where SQLite loses data: "
            "move it to a local disk"
        )


def _kind_of_disk(path: Path, mounts: Path) -> str:
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    kind, depth = "", 0
    for line in lines:
        _, point, found, *_ = line.split(" ")
        parts = Path(_unescaped(point)).parts
        # A later mount on the same point hides the earlier one.
        if path.parts[: len(parts)] == parts and len(parts) >= depth:
            kind, depth = found, len(parts)
    return kind


def _unescaped(point: str) -> str:
    """The kernel writes blanks and backslashes in mount points as octal numbers."""
    for octal, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        point = point.replace(octal, character)
    return point
