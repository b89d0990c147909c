from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shared.bus import wake


def test_a_listener_is_woken_by_its_name_alone(tmp_path: Path) -> None:
    with wake.Listener(tmp_path, "audit") as audit, wake.Listener(tmp_path, "audit.parked") as rest:
        assert wake.notify(tmp_path, "audit") == 1
        assert audit.wait(0)
        assert not rest.wait(0)


def test_every_listener_of_a_name_is_woken(tmp_path: Path) -> None:
    with wake.Listener(tmp_path, "q") as one, wake.Listener(tmp_path, "q") as other:
        assert wake.notify(tmp_path, "q") == 2
        assert one.wait(0)
        assert other.wait(0)


def test_nobody_listening_is_no_error(tmp_path: Path) -> None:
    assert wake.notify(tmp_path / "missing", "q") == 0
    assert wake.notify(tmp_path, "q") == 0


def test_many_wake_ups_are_answered_by_one_look(tmp_path: Path) -> None:
    with wake.Listener(tmp_path, "q") as listener:
        for _ in range(1_000):
            assert wake.notify(tmp_path, "q") == 1
        assert listener.wait(0)
        assert not listener.wait(0)


def test_waiting_ends_with_the_wake_up_or_with_the_time(tmp_path: Path) -> None:
    with wake.Listener(tmp_path, "q") as listener:
        timer = threading.Timer(0.05, wake.notify, (tmp_path, "q"))
        timer.start()
        started = time.monotonic()
        assert listener.wait(5)
        assert time.monotonic() - started < 1
        assert not listener.wait(0.02)
        timer.join()


def test_a_closed_listener_leaves_nothing_behind(tmp_path: Path) -> None:
    wake.Listener(tmp_path, "q").close()
    assert list(tmp_path.iterdir()) == []


def test_the_socket_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "q.1.1.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(left))
    assert wake.notify(tmp_path, "q") == 0
    assert not left.exists()


@pytest.mark.parametrize("name", ["a/b", "q" * 300, "ünï", "q.1.2"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    with wake.Listener(tmp_path, name) as listener:
        assert wake.notify(tmp_path, name) == 1
        assert listener.wait(0)


def test_a_folder_with_a_very_long_path_will_do(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    with wake.Listener(folder, "q") as listener:
        assert wake.notify(folder, "q") == 1
        assert listener.wait(0)
        listener.wake()
        assert listener.wait(0)
    assert list(folder.iterdir()) == []


def test_a_forked_child_does_not_take_the_name_away(tmp_path: Path) -> None:
    with wake.Listener(tmp_path, "q") as listener:
        child = os.fork()
        if child == 0:
            listener.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert wake.notify(tmp_path, "q") == 1
        assert listener.wait(0)


def test_importing_it_brings_in_no_broker_library() -> None:
    code = "import sys, shared.bus.wake; sys.exit('kombu' in sys.modules or 'amqp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
