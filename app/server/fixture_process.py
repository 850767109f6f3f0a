"""A test double in a process that ends with its parent. Its start is as fast as that of Connexion can be made."""

import gc
import os
import socket
import sys
import threading
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.server.single_process import DoubleServer

_HOSTS = ("127.0.0.1", "localhost")
_EXIT_TIMEOUT = 5  # seconds after which a server that does not stop is ended


def main() -> None:
    """Serve an empty catalog on a free port, and print it. Stop at the end of standard input, or at a byte of it.

    Standard input ends with the parent, however that ends.
    """
    gc.disable()  # until the server is ready; collections would be a fifth of the start
    _skip_unused_imports()
    from app.catalog.engines import open_catalog  # noqa: PLC0415 imports are most of the start
    from app.catalog.transfer import ensure_catalog  # noqa: PLC0415
    from app.logs import configure_logging  # noqa: PLC0415
    from app.server.single_process import build_server  # noqa: PLC0415
    from app.settings import Settings  # noqa: PLC0415

    _skip_validation_of_contract()
    with TemporaryDirectory(prefix="compute-images-") as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        settings = Settings(catalog=f"{folder}/catalog.db", allowed_hosts=_HOSTS)
        configure_logging(settings.log_format, settings.log_level)
        ensure_catalog(open_catalog(settings.catalog), list, tombstone_days=settings.tombstone_days)
        server = build_server(settings, lambda: _report_ready(listener))
        threading.Thread(target=_stop_with_parent, args=[server], daemon=True).start()
        server.run([listener])


def _skip_unused_imports() -> None:
    """Put empty modules in the place of two HTTP clients and a test client, which Connexion imports for other uses."""
    for name in ("requests", "httpx", "starlette.testclient"):
        sys.modules[name] = ModuleType(name)
    sys.modules["starlette.testclient"].__dict__["TestClient"] = None


def _skip_validation_of_contract() -> None:
    """Keep Connexion from validating the contract, which takes a tenth of the start. The tests of the service do so."""
    from connexion.spec import OpenAPISpecification  # noqa: PLC0415

    OpenAPISpecification._validate_spec = classmethod(lambda _class, _document: None)  # noqa: SLF001


def _report_ready(listener: socket.socket) -> None:
    gc.freeze()
    gc.enable()
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()


def _stop_with_parent(server: "DoubleServer") -> None:
    sys.stdin.buffer.read(1)
    server.should_exit = True
    threading.Event().wait(_EXIT_TIMEOUT)
    os._exit(1)
