"""A test run that is killed leaves no server behind."""

import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.server.service import until
from tests.support.tether import tethered

ROOT = Path(__file__).parents[3]
RUN = """
import sys, time
from pathlib import Path
from tests.integration.server.service import serving
with serving(Path(sys.argv[1])) as service:
    print(service.port, flush=True)
    time.sleep(60)
"""


def accepts_connections(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.mark.skipif(not shutil.which("setpriv"), reason="Missing: setpriv, which only Linux has.")
def test_killed_test_run_leaves_no_server_behind(tmp_path: Path) -> None:
    command = tethered([sys.executable, "-c", RUN, str(tmp_path)])
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as run:
        assert run.stdout
        port = int(run.stdout.readline())
        assert accepts_connections(port)
        run.kill()
    until(lambda: not accepts_connections(port))
