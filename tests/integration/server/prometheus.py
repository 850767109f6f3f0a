"""A real Prometheus that scrapes the service.

`python -m tests.integration.server.prometheus` lets it scrape two workers under load for a minute, in which they are
first reloaded and then killed again and again, and prints what it counted and what the clients did.
"""

import json
import re
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.server.load import Client, kill, load, reload
from tests.integration.server.service import Service, free_port, serving, session, until

README = (Path(__file__).parents[3] / "README.md").read_text()
CONFIG, RULES = (
    next(block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if block.startswith(key))
    for key in ("scrape_configs", "groups")
)
COUNT = 'sum(compute_images_requests_total{operation="listImagesDetails", status="200"})'


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an API's response."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """Return the present values of an expression, by the values of their labels in the order of the names."""
        return {
            tuple(value for _, value in sorted(each["metric"].items())): float(each["value"][1])
            for each in self.get("query", query=expression)["result"]
        }


@contextmanager
def prometheus(folder: Path, service: Service) -> Iterator[Prometheus]:
    """Scrape a service five times a second, with the README's configuration and rules."""
    folder.mkdir()
    port = free_port()
    settings = "global: {scrape_interval: 200ms, evaluation_interval: 1s}\nrule_files: [rules.yml]\n"
    scrapes = CONFIG.replace("127.0.0.1:8774", f"127.0.0.1:{service.port}")
    (folder / "prometheus.yml").write_text(settings + scrapes)
    (folder / "rules.yml").write_text(RULES)
    files = ("--config.file=prometheus.yml", "--storage.tsdb.path=data")
    command = ("prometheus", *files, f"--web.listen-address=127.0.0.1:{port}")
    with (folder / "log").open("wb") as log, session(command, folder, {}, output=log.fileno()):
        until(lambda: "Server is ready" in (folder / "log").read_text())
        yield Prometheus(port)


def bounds(clients: list[Client]) -> tuple[int, int]:
    """Return the least and the highest number of responses: a lost connection may have lost a counted response."""
    sent, lost = (sum(map(number, clients)) for number in (lambda each: each.sent, lambda each: len(each.lost)))
    return sent - lost, sent


def main(seconds: float = 60, clients: int = 4) -> None:
    """Print the counts."""
    with (
        tempfile.TemporaryDirectory() as name,
        serving(Path(name), workers=2, IMAGES_METRICS="on", TMPDIR=name) as service,
        prometheus(Path(name) / "prometheus", service) as server,
    ):
        begin, done = time.monotonic(), Counter[str]()
        with load(service.port, clients) as running:
            for replace, end in ((reload, seconds / 2), (kill, seconds)):
                while time.monotonic() < begin + end:
                    replace(service, running)
                    done[replace.__name__] += 1
        least, most = bounds(running)
        until(lambda: server.query(COUNT).get((), 0) >= least)
        counted = server.query(COUNT)[()]
        resets = sum(server.query(f"resets(compute_images_requests_total[{seconds:.0f}s])").values())
        scrapes, longest = (
            server.query(f"{function}_over_time(scrape_duration_seconds[{seconds:.0f}s])").popitem()[1]
            for function in ("count", "max")
        )
        files = sorted(file.name for file in Path(name).glob("compute-images-metrics-*/*.db"))
        sys.stdout.write(
            f"{done['reload']} reloads of two workers, {done['kill']} kills of one: "
            f"{counted:.0f} responses counted, {least} to {most} received, {resets:.0f} counters reset\n"
            f"{scrapes:.0f} scrapes of at most {longest * 1000:.0f} ms, {len(files)} files at the end: {files}\n"
        )


if __name__ == "__main__":
    main()
