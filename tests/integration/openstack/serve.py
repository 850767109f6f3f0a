"""Configuration of gunicorn for a component: a file, because Keystone would parse command line arguments itself."""

import os
from pathlib import Path
from typing import Any

wsgi_app = os.environ["APPLICATION"]
threads = 4
control_socket_disable = True

_REQUESTS = Path(os.environ["REQUESTS"])


def pre_request(worker: Any, request: Any) -> None:
    """Record a request before it is served, so that it is recorded when the client has the response."""
    with _REQUESTS.open("a") as file:
        file.write(f"{request.method} {request.uri}\n")
