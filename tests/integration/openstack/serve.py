"""How gunicorn serves a component. It is told by a file, for Keystone takes the words of a command for its own."""

import os
from pathlib import Path
from typing import Any

wsgi_app = os.environ["APPLICATION"]
threads = 4
control_socket_disable = True

_REQUESTS = Path(os.environ["REQUESTS"])


def pre_request(worker: Any, request: Any) -> None:
    """Tell of a request before it is answered: whoever has the answer finds it told."""
    with _REQUESTS.open("a") as file:
        file.write(f"{request.method} {request.uri}\n")
