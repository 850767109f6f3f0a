"""A real Prometheus scrapes the service, across replaced workers; and the alert rules of the README, by promtool."""

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.server.load import kill, load, reload
from tests.integration.server.prometheus import RULES, bounds, prometheus
from tests.integration.server.service import serving, until
from tests.integration.server.wire import JSON, fetch, request

pytestmark = [
    pytest.mark.external,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="Missing: prometheus (apt-get install prometheus)."),
]

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
        rejected = dict(Counter(("other", str(status)) for _, status in REJECTED))

        def counts() -> dict[tuple[str, ...], float]:
            counted = server.query("sum by (operation, status) (compute_images_requests_total)")
            counted.pop(("other", "200"), None)  # the scrapes
            return counted

        until(lambda: counts().items() >= rejected.items())
        counted = counts().pop(("listImagesDetails", "200"))
        least, most = bounds(clients)
        assert least <= counted <= most
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
