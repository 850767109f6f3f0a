"""The metrics of one process: what is counted for each request, and what is read from the catalog."""

import asyncio
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry
from starlette.testclient import TestClient

from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.models import SyncStatus, SyncTotal, Upstream, UpstreamSnapshot
from app.catalog.replica import apply_snapshot
from app.catalog.status import describe_catalog
from app.catalog.tokens import add_token
from app.catalog.transfer import import_images
from app.context import RequestContext
from app.factory import create_app
from app.metrics.page import MetricsPage
from app.metrics.processes import ProcessCollector, remove_process
from app.metrics.recorder import IN_FLIGHT, Recorder
from app.metrics.value_files import ValueFiles
from app.middleware.metrics import Metrics, MetricsMiddleware
from app.overrides import NO_OVERRIDES, Overrides
from app.settings import Settings
from app.timestamps import SYSTEM_CLOCK
from tests.conftest import Serve, loaded
from tests.support.catalogs import add_images, remove_catalog
from tests.support.images import image, image_id, stored_images
from tests.support.projects import LIST_URL, SAMPLE_PROJECT
from tests.unit.test_readme import rows

Samples = dict[str, float]
Run = Callable[..., TestClient]

REQUESTS, VALIDATIONS = "compute_images_requests_total", "compute_images_token_validations_total"


@pytest.fixture
def engine(location: str) -> Engine:
    """Return a catalog of three images and a tombstone that nobody listed before."""
    images = (image(number, status="DELETED" if number == 4 else "ACTIVE") for number in range(1, 5))
    return add_images(open_catalog(location), *images)


@pytest.fixture
def run(engine: Engine, location: str, tmp_path: Path) -> Iterator[Run]:
    """Return a function that runs the service with metrics, and returns a client."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    clients: list[TestClient] = []

    def start(*, overrides: Overrides = NO_OVERRIDES, **settings: Any) -> TestClient:
        contract = loaded(settings.get("auth", "none"))
        metrics = Metrics(folder, contract)
        app = create_app(Settings(location, **settings), contract, metrics=metrics, overrides=overrides)
        clients.append(app.test_client(base_url="http://compute.test", raise_server_exceptions=False).__enter__())
        return clients[-1]

    yield start
    for client in clients:
        client.__exit__()


def read(client: TestClient, prefix: str = "") -> Samples:
    """Return the samples whose names begin with a prefix, by name and label values."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        ",".join([sample.name, *(value for _, value in sorted(sample.labels.items()))]): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith(prefix)
    }


def test_requests_are_counted_by_operation_and_status(run: Run) -> None:
    client = run()
    etag = client.get(LIST_URL).headers["etag"]
    image_url = f"/v2/{SAMPLE_PROJECT}/images/{image_id(1)}"
    requests: list[tuple[str, str, dict[str, Any], str]] = [
        ("GET", LIST_URL, {}, "hit,listImagesDetails,200"),
        ("HEAD", LIST_URL, {}, "hit,listImagesDetails,200"),
        ("GET", LIST_URL, {"headers": {"If-None-Match": etag}}, "hit,listImagesDetails,304"),
        ("GET", f"{LIST_URL}?limit=2", {"headers": {"If-None-Match": etag}}, "miss,listImagesDetails,200"),
        ("GET", f"{LIST_URL}?limit=x", {}, "none,listImagesDetails,400"),
        ("GET", f"/v2/{SAMPLE_PROJECT}/images/missing", {}, "none,showImage,404"),
        ("GET", "/v2", {}, "miss,showVersion,200"),
        (
            "PUT",
            f"{image_url}/metadata",
            {"content": b"{}", "headers": {"Content-Type": "text/plain"}},
            "none,replaceMetadata,415",
        ),
        ("PUT", f"{image_url}/metadata", {"json": {"metadata": {"a": "b"}}}, "none,replaceMetadata,200"),
        ("DELETE", image_url, {}, "none,deleteImage,204"),
        ("DELETE", f"/v2/{SAMPLE_PROJECT}/images/detail", {}, "none,other,405"),
        ("OPTIONS", image_url, {}, "none,other,204"),
        ("GET", "/nowhere/%00", {}, "none,other,404"),
        ("GET", "/ui/swagger-ui.css", {}, "none,other,200"),
        ("POST", "/metrics", {}, "none,other,405"),
    ]
    expected = {f"{REQUESTS},miss,listImagesDetails,200": 1.0}
    for method, url, options, key in requests:
        assert client.request(method, url, **options).status_code == int(key[-3:]), (method, url)
        expected[f"{REQUESTS},{key}"] = expected.get(f"{REQUESTS},{key}", 0) + 1
    assert read(client, REQUESTS) == expected
    durations = read(client, "compute_images_request_duration_seconds")
    assert durations["compute_images_request_duration_seconds_count,listImagesDetails"] == 6
    assert durations["compute_images_request_duration_seconds_bucket,+Inf,listImagesDetails"] == 6
    assert durations["compute_images_request_duration_seconds_sum,listImagesDetails"] > 0


@pytest.mark.parametrize(
    ("messages", "status"), [((), "500"), (({"type": "http.response.start", "status": 200, "headers": []},), "200")]
)
def test_request_that_fails_without_complete_response_is_counted_once(
    tmp_path: Path, messages: tuple[Any, ...], status: str
) -> None:
    async def application(_scope: object, _receive: object, send: Any) -> None:
        for message in messages:
            await send(message)
        raise ValueError

    async def ignore(*_: object) -> Any:
        pass

    recorder = Recorder(tmp_path, [])
    middleware = MetricsMiddleware(application, recorder)
    scope: Any = {"type": "http", "path": "/", "state": {"context": RequestContext("req-1")}}
    with pytest.raises(ValueError, match=r"^$"):
        asyncio.run(middleware(scope, ignore, ignore))
    recorder.close()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path))
    assert registry.get_sample_value(REQUESTS, {"operation": "other", "status": status, "cache": "none"}) == 1


def test_cache_and_versions_of_the_catalog_are_measured(run: Run, engine: Engine) -> None:
    client = run()
    for _ in range(3):
        client.get(LIST_URL)
    add_images(engine, image(5))
    client.get(LIST_URL)
    samples = read(client)
    assert samples[f"{REQUESTS},hit,listImagesDetails,200"] == samples[f"{REQUESTS},miss,listImagesDetails,200"] == 2
    assert samples["compute_images_cache_entries"] == 1
    assert samples["compute_images_cache_bytes"] > 1000
    assert samples["compute_images_catalog_versions_total"] == 2
    assert samples["compute_images_requests_in_flight"] == 0  # without the request for the metrics
    assert samples["compute_images_writes_waiting"] == 0


def test_token_validations_are_counted_by_result(run: Run, engine: Engine) -> None:
    client = run(auth="token")
    token = add_token(engine, SAMPLE_PROJECT, is_admin=False, expires=None)
    for _ in range(3):  # not cached, a cached response, and again
        client.get(LIST_URL, headers={"X-Auth-Token": token})
    client.get(f"{LIST_URL}?limit=1", headers={"X-Auth-Token": token})  # a cached token, but no cached response
    client.get(LIST_URL, headers={"X-Auth-Token": "wrong"})
    client.get(LIST_URL)
    samples = read(client, "compute_images_token_validation")
    assert {name: value for name, value in samples.items() if name.startswith(VALIDATIONS)} == {
        f"{VALIDATIONS},valid": 1,
        f"{VALIDATIONS},cached": 3,
        f"{VALIDATIONS},invalid": 1,
    }
    assert samples["compute_images_token_validation_duration_seconds_count"] == 2


def test_images_tombstones_and_mirror_are_read_at_each_scrape(run: Run, location: str, engine: Engine) -> None:
    client = run()
    samples = read(client)
    assert (samples["compute_images_images"], samples["compute_images_tombstones"]) == (3, 1)
    assert [name for name in samples if "mirror" in name] == []
    add_images(engine, image(6, visibility="shared", owner="a", members=["b", "c"], status="DELETED"), image(7))
    samples = read(client)
    assert (samples["compute_images_images"], samples["compute_images_tombstones"]) == (4, 2)
    remove_catalog(location)
    assert "compute_images_images" not in read(client)


def test_images_that_no_project_lists_are_counted_as_in_the_status(run: Run, engine: Engine) -> None:
    unlisted = image(6, visibility="private", owner=None), image(7, os_hidden=True)
    add_images(engine, image(5), *unlisted)
    client = run()
    for images, tombstones in ((6, 1), (1, 6)):
        status, samples = describe_catalog(engine), read(client)
        assert (status["images"]["count"], status["tombstones"]) == (images, tombstones)
        assert (samples["compute_images_images"], samples["compute_images_tombstones"]) == (images, tombstones)
        import_images(engine, stored_images(image(5)), prune=True, tombstone_days=30)


def test_state_of_the_mirror_is_read_from_its_status(run: Run, location: str, engine: Engine) -> None:
    remove_catalog(location)
    replica = Upstream("http://glance.test", is_admin=True)
    apply_snapshot(engine, UpstreamSnapshot(replica, stored_images(image())), tombstone_days=30)
    totals = {"full": SyncTotal(2, 3.5), "failed": SyncTotal(1, 0.25)}
    started = SYSTEM_CLOCK.time() - 60
    engine.write_sync_status(SyncStatus(started, failed={"a": "b"}, incomplete={"c": "d", "e": "f"}, totals=totals))
    samples = read(run(), "compute_images_mirror_")
    assert 60 <= samples.pop("compute_images_mirror_age_seconds") < 600
    assert samples == {
        "compute_images_mirror_failed_images": 1,
        "compute_images_mirror_incomplete_images": 2,
        "compute_images_mirror_sync_duration_seconds_count,full": 2,
        "compute_images_mirror_sync_duration_seconds_sum,full": 3.5,
        "compute_images_mirror_sync_duration_seconds_count,failed": 1,
        "compute_images_mirror_sync_duration_seconds_sum,failed": 0.25,
    }


def test_readme_lists_every_metric_with_its_labels(run: Run, location: str, engine: Engine) -> None:
    remove_catalog(location)
    replica = Upstream("http://glance.test", is_admin=True)
    apply_snapshot(engine, UpstreamSnapshot(replica, stored_images(image())), tombstone_days=30)
    engine.write_sync_status(SyncStatus(SYSTEM_CLOCK.time(), totals={"full": SyncTotal(1, 1)}))
    client = run(auth="token")
    token = add_token(engine, SAMPLE_PROJECT, is_admin=False, expires=None)
    for _ in range(2):
        client.get(LIST_URL, headers={"X-Auth-Token": token})
    families = text_string_to_metric_families(client.get("/metrics").text)
    labels = {
        each.name + ("_total" if each.type == "counter" else ""): set().union(
            *(sample.labels for sample in each.samples)
        )
        for each in families
    }
    listed = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows("Metrics")}
    assert {name: names - {"le"} for name, names in labels.items()} == listed


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        *(("", "text/plain; version=0.0.4"), ("text/plain; version=one", "text/plain; version=0.0.4")),
        ("application/openmetrics-text", "application/openmetrics-text"),
    ],
)
def test_page_has_the_format_that_is_asked_for(run: Run, accept: str, media_type: str) -> None:
    response = run().get("/metrics", headers={"Accept": accept})
    assert response.headers["content-type"].startswith(media_type)
    assert response.headers["cache-control"] == "no-store"


def test_scrapes_share_a_page_unless_it_was_begun_before_they_came(tmp_path: Path, engine: Engine) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()

    async def scrape() -> list[bytes]:
        recorder = Recorder(folder, [])
        page = MetricsPage(recorder, engine, SYSTEM_CLOCK)
        scrapes = [asyncio.create_task(page.read("")) for _ in range(40)]

        def begin() -> float:
            if len(scrapes) < 50:
                scrapes.extend(asyncio.create_task(page.read("")) for _ in range(10))
            return 0

        recorder.watch(IN_FLIGHT, begin)
        await scrapes[0]
        recorder.close()
        return [body for body, _ in await asyncio.gather(*scrapes)]

    engine.connect()
    first, *_, last = bodies = asyncio.run(scrape())
    assert [body is first for body in bodies] == [True] * 40 + [False] * 10
    assert [body is last for body in bodies] == [False] * 40 + [True] * 10


def test_metrics_are_off_by_default(serve: Serve, sample_catalog: str) -> None:
    response = serve(sample_catalog).get("/metrics")
    assert response.json() == {"itemNotFound": {"code": 404, "message": "Path '/metrics' not found."}}


def test_process_with_a_reused_id_continues_the_values(tmp_path: Path) -> None:
    for count in (1, 2):
        with closing(ValueFiles(tmp_path)) as files:
            value = files.value("counter", "a", "a_total", {"b": "c"}, "d")
            value.add()
        assert value.memory[value.position] == count
    assert [each.name for each in tmp_path.iterdir()] == [f"counter_{os.getpid()}.db"]


def test_values_of_ended_processes_are_merged_unless_a_scrape_reads_them(tmp_path: Path) -> None:
    def record(pid: int) -> None:
        recorder = Recorder(tmp_path, [])
        for _ in range(pid):
            recorder.record_response(f"a{pid % 2}", 200, 0.25)
        recorder.watch(IN_FLIGHT, lambda: 0)
        recorder.close()
        for file in tmp_path.glob(f"*_{os.getpid()}.db"):
            file.rename(file.with_stem(file.stem.replace(str(os.getpid()), str(pid))))

    def pids(type_: str) -> list[int]:
        return sorted(int(file.stem.rpartition("_")[2]) for file in tmp_path.glob(f"{type_}_*"))

    def values() -> list[str]:
        return sorted(str(sample) for each in ProcessCollector(tmp_path).collect() for sample in each.samples)

    for pid in (1, 2, 3, 4):
        record(pid)
    before, running = values(), {4: None}
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    remove_process(tmp_path, 1, running)
    os.close(descriptor)
    assert (pids("counter"), pids("gauge_livesum")) == ([1, 2, 3, 4], [2, 3, 4])
    for pid in (2, 3):
        remove_process(tmp_path, pid, running)
        assert [pids(each) for each in ("counter", "histogram")] == [[0, 4]] * 2
    assert values() == before
    record(5)
    remove_process(tmp_path, 5, running)
    assert pids("counter") == [0, 4]
    registry = CollectorRegistry()
    registry.register(ProcessCollector(tmp_path))
    assert registry.get_sample_value("compute_images_request_duration_seconds_sum", {"operation": "a1"}) == 9 * 0.25


def test_file_grows_with_its_values(tmp_path: Path) -> None:
    with closing(ValueFiles(tmp_path)) as files:
        values, again = (
            [files.value("counter", "a", "a_total", {"b": str(number)}, "d" * 500) for number in range(500)]
            for _ in range(2)
        )
    for value in values:
        value.add()
    assert [value.memory[value.position] for value in again] == [1] * 500
