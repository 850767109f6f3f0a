"""The examples of the README, run against the service. Each section has a folder, a service and a catalog of its own.

`console` blocks hold commands after `$` and their output; a `python` block is followed by its output in a `text` block.
In an output, `...` stands for any text. `<!-- service: NAME=value -->` before a block sets the environment of the
section's service. `bash` blocks are not run: they install packages, need a cloud, or run for ever.
"""

import doctest
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.server.service import Service, environment, serving

ROOT = Path(__file__).parents[3]
SERVICE = "127.0.0.1:8774"
BLOCK = re.compile(
    r"(?:<!-- service: (?P<variables>.*?) -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
SECTIONS = {
    section.splitlines()[0].removeprefix("## "): section
    for section in re.split(r"^(?=## )", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
}


def exchanges(section: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a section, each with its output."""
    script = None
    for block in BLOCK.finditer(section):
        if block["language"] == "console":
            for part in re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield command, output
        elif block["language"] == "python":
            script = f"python - <<'SCRIPT'\n{block['body']}SCRIPT"
        elif block["language"] == "text" and script:
            yield script, block["body"]
            script = None


def variables_of(section: str) -> dict[str, str]:
    pairs = [pair for block in BLOCK.finditer(section) for pair in (block["variables"] or "").split()]
    return dict(pair.split("=", 1) for pair in pairs)


EXAMPLES = {title: list(exchanges(section)) for title, section in SECTIONS.items()}


def run(command: str, service: Service) -> str:
    """Run a command in the folder of the service. Shell variables live on from one command to the next."""
    script = command.replace(SERVICE, f"127.0.0.1:{service.port}")
    state = "touch session; set -a; . ./session; set +a"
    save = "set | grep -E '^(IMAGE|JSON|TOKEN)=' > session"
    done = subprocess.run(
        ["/bin/bash", "-c", f"{state}\n{script}\n{save}"],
        cwd=service.folder,
        env=environment(PATH=f"{sysconfig.get_path('scripts')}:/usr/bin:/bin", HOME=str(service.folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    output = done.stdout.replace("\r", "")
    return output if not output or output.endswith("\n") else f"{output}\n"  # a body without a line end


@pytest.mark.parametrize("title", [title for title, examples in EXAMPLES.items() if examples])
def test_examples_print_what_the_readme_shows(tmp_path: Path, title: str) -> None:
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("catalog.db*"))
    # With this URL, links and so ETags are those of the README.
    variables: dict[str, Any] = {"IMAGES_COMPUTE_URL": f"http://{SERVICE}"} | variables_of(SECTIONS[title])
    with serving(tmp_path, **variables) as service:
        for command, expected in EXAMPLES[title]:
            output = run(command, service)
            assert doctest.OutputChecker().check_output(expected, output, doctest.ELLIPSIS), (command, output)


def test_most_sections_have_examples() -> None:
    assert sum(len(examples) for examples in EXAMPLES.values()) >= 20
