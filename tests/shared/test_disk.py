from __future__ import annotations

from pathlib import Path

import pytest

from shared.disk import refuse_network_disk
from shared.errors import ConfigurationError


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mounts"
    path.write_text(
        "/dev/vda / ext4 rw 0 0\n"
        "server:/export /srv/shared nfs4 rw 0 0\n"
        "/dev/vdb /srv/shared/local ext4 rw 0 0\n"
        "host:/home /home/a\\040b fuse.sshfs rw 0 0\n"
        "share /mnt/share cifs rw 0 0\n"
        "/dev/vdc /mnt/share ext4 rw 0 0\n"
    )
    return path


@pytest.mark.parametrize("path", ["/srv/shared/bus.db", "/srv/shared", "/home/a b/data/bus.db"])
def test_a_path_on_a_network_disk_is_refused_with_advice(path: str, mounts: Path) -> None:
    with pytest.raises(ConfigurationError, match="move it to a local disk"):
        refuse_network_disk(path, mounts=mounts)


@pytest.mark.parametrize(
    "path", ["/var/bus.db", "/srv/shared/local/bus.db", "/srv/sharedless/bus.db", "/mnt/share/x"]
)
def test_a_path_on_a_local_disk_is_taken(path: str, mounts: Path) -> None:
    refuse_network_disk(path, mounts=mounts)


def test_without_a_table_of_mounts_nothing_is_refused(tmp_path: Path) -> None:
    refuse_network_disk("/srv/shared/bus.db", mounts=tmp_path / "none")


def test_the_machines_own_table_is_read(tmp_path: Path) -> None:
    refuse_network_disk(tmp_path)
