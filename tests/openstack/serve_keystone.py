"""How gunicorn serves Keystone. It is told by a file, for Keystone takes the words of a command for its own."""

import sys
from typing import Any

wsgi_app = "keystone.wsgi.api:application"
threads = 4
control_socket_disable = True


def pre_request(worker: Any, request: Any) -> None:
    """Tell of a request before it is answered: whoever has the answer finds it told."""
    sys.stdout.write(f"{request.method} {request.path}\n")
    sys.stdout.flush()
