"""The addresses that `serve` can listen on: who can connect, and whether an address is free."""

import errno
import ipaddress
import os
import socket
import time
from pathlib import Path

import click

from app.text import quote

UNIX = "unix:"
_INHERITED = {"LISTEN_FDS", "GUNICORN_FD"}  # variables with sockets that systemd or gunicorn has already bound
_ORPHAN_TIMEOUT = 1  # seconds for the workers of a killed service to close its address
_RETRY_INTERVAL = 0.05  # seconds


class SocketUnavailable(click.ClickException):
    """The service cannot listen on a Unix socket."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"The socket {quote(str(path))} cannot be created: {problem}.")


def is_local(address: str) -> bool:
    """Return whether only programs of this machine can connect. The mode of a Unix socket states which users."""
    if address.startswith(UNIX):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_free(address: str) -> None:
    """Raise ClickException if the service cannot listen on an address.

    gunicorn would report that in several lines and after seconds, and would replace the socket of a running service.
    """
    if address.startswith(UNIX):
        _prepare_socket(Path(address.removeprefix(UNIX)))
    elif not _INHERITED & os.environ.keys():
        _try_port(address)


def _try_port(address: str) -> None:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    deadline = time.monotonic() + _ORPHAN_TIMEOUT
    while True:
        try:
            with socket.socket(family) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
                trial.bind((host.strip("[]"), int(port)))
                return
        except OSError as error:
            is_in_use = error.errno == errno.EADDRINUSE
            if not is_in_use or time.monotonic() > deadline:
                problem = "is in use by another process" if is_in_use else f"cannot be used ({error.strerror})"
                raise click.ClickException(f"{address} {problem}: set PORT, or use --bind.") from error
        time.sleep(_RETRY_INTERVAL)


def _prepare_socket(path: Path) -> None:
    """Remove a socket that a killed service has left. Raises SocketUnavailable if no socket can be created."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            if client.connect_ex(str(path)) not in {errno.ECONNREFUSED, errno.ENOENT}:
                raise SocketUnavailable(path, "another process uses it")
        if path.is_socket():
            path.unlink()
        elif path.exists():
            raise SocketUnavailable(path, "a file or folder is there")
        with socket.socket(socket.AF_UNIX) as trial:
            trial.bind(str(path))
            path.unlink()
    except OSError as error:
        raise SocketUnavailable(path, error.strerror or str(error)) from error
