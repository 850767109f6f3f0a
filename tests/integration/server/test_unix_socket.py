"""The service on a Unix socket."""

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from tests.integration.server.conftest import LIST
from tests.integration.server.service import COMMAND, session, until

PATH = "http.sock"


@contextmanager
def serving(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = (COMMAND, "serve", "--workers", "1", "--bind", f"unix:{PATH}")
    with session(command, folder, {}, output=subprocess.DEVNULL) as process:
        until(lambda: is_listening(folder / PATH) or process.poll() is not None)
        yield process


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(os.path.relpath(path)) == 0


def fetch(folder: Path, *options: str) -> tuple[int, bytes]:
    """Return the status and the body of a list."""
    command = ("curl", "-s", "--max-time", "20", "-w", "%{http_code}", "--unix-socket", PATH, *options)
    output = subprocess.run([*command, f"http://localhost{LIST}"], cwd=folder, capture_output=True, check=True).stdout
    return int(output[-3:]), output[:-3]


def test_socket_is_for_user_and_group_and_is_removed_at_the_end(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        status, body = fetch(tmp_path)
        assert (status, len(orjson.loads(body)["images"])) == (200, 7)
        assert stat.filemode((tmp_path / PATH).stat().st_mode) == "srw-rw----"
        assert fetch(tmp_path, "-H", "Host: rebind.example")[0] == 400
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert not (tmp_path / PATH).exists()


def test_proxy_on_the_socket_can_state_the_scheme(tmp_path: Path) -> None:
    with serving(tmp_path):
        _, body = fetch(tmp_path, "-H", "X-Forwarded-Proto: https")
    assert orjson.loads(body)["images"][0]["links"][0]["href"].startswith("https://localhost/v2/openstack/images/")


def test_socket_of_a_killed_service_is_replaced_but_not_that_of_a_running_one(tmp_path: Path) -> None:
    with serving(tmp_path) as killed:
        killed.kill()
        killed.wait(20)
        until(lambda: not is_listening(tmp_path / PATH))  # the workers stop a moment later
    assert (tmp_path / PATH).is_socket()
    with serving(tmp_path) as running:
        with serving(tmp_path) as second:
            assert second.wait(20) == 1
        assert fetch(tmp_path)[0] == 200
        assert running.poll() is None
