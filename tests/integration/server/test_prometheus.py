"""A real Prometheus scrapes the service, across replaced workers; and the alert rules of the README, by promtool."""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.server.load import kill, load, reload
from tests.integration.server.service import Service, free_port, serving, session, until
from tests.integration.server.wire import JSON, fetch, request

pytestmark = [
    pytest.mark.external,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="Missing: prometheus (apt-get install prometheus)."),
]

README = (Path(__file__).parents[3] / "README.md").read_text()
CONFIG, RULES = (
    next(block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if block.startswith(key))
    for key in ("scrape_configs", "groups")
)
PUT = request("/v2/openstack/images/x/metadata", JSON, "Transfer-Encoding: chunked", method="PUT")
REJECTED = [  # by the application, by the server, and by the server while the application waits for the body
    *((request("/nowhere"), 404), (request("/", *("A: b" for _ in range(101))), 431), (request("/" * 20_000), 414)),
    *((b"GET\r\n\r\n", 400), (PUT + b"malformed\r\n", 400)),
]
INSTANCE = '{job="compute-images", instance="a"}'
# For each alert: the series of which it depends, with values of each minute for which it fires and does not fire.
ALERTS = {
    "ComputeImagesDown": ({"up": "0x15"}, {"up": "1x15"}),
    "ComputeImagesErrors": (
        {
            'compute_images_requests_total{status="503"': "0+2x15",
            'compute_images_requests_total{status="200"': "0+98x15",
        },
        {
            'compute_images_requests_total{status="503"': "0+1x15",
            'compute_images_requests_total{status="200"': "0+199x15",
        },
    ),
    "ComputeImagesSlow": (
        {
            'compute_images_request_duration_seconds_bucket{le="1.0"': "0+98x15",
            'compute_images_request_duration_seconds_bucket{le="2.5"': "0+100x15",
            'compute_images_request_duration_seconds_bucket{le="+Inf"': "0+100x15",
        },
        {
            'compute_images_request_duration_seconds_bucket{le="1.0"': "0+100x15",
            'compute_images_request_duration_seconds_bucket{le="+Inf"': "0+100x15",
        },
    ),
    "ComputeImagesTokenValidationFails": (
        {'compute_images_token_validations_total{result="error"': "0+1x15"},
        {'compute_images_token_validations_total{result="error"': "1x15"},
    ),
    "ComputeImagesReplicaStale": (
        {"compute_images_mirror_age_seconds": "0+60x15"},
        {"compute_images_mirror_age_seconds": "60x15"},
    ),
    "ComputeImagesNotCopied": (
        {"compute_images_mirror_failed_images": "1x90", "compute_images_mirror_incomplete_images": "0x90"},
        {"compute_images_mirror_failed_images": "0x90", "compute_images_mirror_incomplete_images": "0x90"},
    ),
    "ComputeImagesWritesWaiting": (
        {"compute_images_writes_waiting": "5x15"},
        {"compute_images_writes_waiting": "4x15"},
    ),
}


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


def test_counts_are_those_of_the_clients_across_replaced_workers(tmp_path: Path) -> None:
    with (
        serving(tmp_path, workers=2, IMAGES_METRICS="on", TMPDIR=str(tmp_path)) as service,
        prometheus(tmp_path / "prometheus", service) as server,
    ):
        assert list(tmp_path.glob("compute-images-metrics-*"))
        with load(service.port, clients=4) as clients:
            reload(service, clients)
            kill(service, clients)
        for raw, status in REJECTED:
            assert fetch(service.port, raw).status == status
        lost = sum(len(client.lost) for client in clients)
        answered = sum(client.sent for client in clients) - lost
        rejected = dict(Counter(("other", str(status)) for _, status in REJECTED))

        def counts() -> dict[tuple[str, ...], float]:
            counted = server.query("sum by (operation, status) (compute_images_requests_total)")
            counted.pop(("other", "200"), None)  # the scrapes
            return counted

        until(lambda: counts().items() >= rejected.items())
        counted = counts().pop(("listImagesDetails", "200"))
        assert answered <= counted <= answered + lost
        assert counts() == {("listImagesDetails", "200"): counted} | rejected
        assert set(server.query("resets(compute_images_requests_total[1m])").values()) == {0}
        rules = server.get("rules")["groups"][0]["rules"]
        assert {rule["name"]: (rule["health"], rule["state"]) for rule in rules} == dict.fromkeys(
            ALERTS, ("ok", "inactive")
        )
    assert list(tmp_path.glob("compute-images-metrics-*")) == []


def test_alert_rules_fire_when_they_should(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": _labelled(name), "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
                    "eval_time": "90m" if "x90" in str(series) else "14m",
                    "exp_samples": [{"labels": "{}", "value": int(fires)}],
                }
            ],
        }
        for alert, cases in ALERTS.items()
        for fires, series in zip((True, False), cases, strict=True)
    ]
    (tmp_path / "test.yml").write_text(
        json.dumps({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests})
    )
    for command in (("check", "rules", "rules.yml"), ("test", "rules", "test.yml")):
        done = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S607
        assert done.returncode == 0, done.stdout + done.stderr


def _labelled(name: str) -> str:
    """Add the labels of an instance to the name of a series, which may have other labels already."""
    return f"{name}, {INSTANCE[1:]}" if "{" in name else f"{name}{INSTANCE}"
