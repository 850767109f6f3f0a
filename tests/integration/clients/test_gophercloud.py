"""The Go program in README.md, with Debian's gophercloud."""

import re
import shutil
from pathlib import Path

import pytest

from tests.integration.server.service import run_slow, serving
from tests.unit.test_readme import README

pytestmark = pytest.mark.external

GO_PATH = Path("/usr/share/gocode")  # where Debian's packages put sources

(PROGRAM,) = re.findall(r"^```go\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not shutil.which("go"), reason="Missing: go.")
@pytest.mark.skipif(not (GO_PATH / "src/github.com/gophercloud").exists(), reason="Missing: gophercloud.")
def test_program_in_readme_lists_the_image(tmp_path: Path) -> None:
    variables = {"GO111MODULE": "off", "GOPATH": str(GO_PATH), "GOCACHE": str(tmp_path / "cache")}
    with serving(tmp_path) as service:
        (tmp_path / "main.go").write_text(PROGRAM.replace("127.0.0.1:8774", f"127.0.0.1:{service.port}"))
        ended = run_slow(("go", "run", "main.go"), tmp_path, variables, timeout=100)
    assert (ended.stdout, ended.stderr) == ("70a599e0-31e7-49b7-b260-868f441e862b fakeimage7 ACTIVE\n", "")
