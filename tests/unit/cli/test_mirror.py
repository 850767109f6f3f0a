"""The command mirror: what it reports, its errors, and how it ends."""

import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import cli
from app.catalog.documents import load_sample
from app.catalog.engines import open_catalog
from app.catalog.replica import CatalogNotEmpty, UpstreamMismatch
from app.catalog.transfer import ensure_catalog
from app.errors import MirrorAlreadyRunning, MirrorLockLost
from tests.integration.openstack.replica import Replica
from tests.integration.server.service import until
from tests.support.catalogs import END_MIRROR, execute, is_missing, postgresql_only, sqlite_only
from tests.support.fake_glance import NO_RESPONSE, FakeGlance, FakeResponse, glance_image, running_glance
from tests.support.images import catalog_at, image, image_id

TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"
LIST = "GET /v2/images"


@pytest.fixture
def glance() -> Iterator[FakeGlance]:
    with running_glance() as server:
        yield server


@pytest.fixture
def name(location: str) -> str:
    """Return the name of the catalog in messages."""
    return open_catalog(location).name


Run = Callable[..., Result]


@pytest.fixture
def run(location: str, tmp_path: Path, glance: FakeGlance) -> Iterator[Run]:
    """Return a function that runs one sync of a cloud without authentication."""
    variables = {
        "IMAGES_CATALOG": location,
        "HOME": str(tmp_path),
        "OS_AUTH_TYPE": "none",
        "OS_IMAGE_ENDPOINT_OVERRIDE": f"{glance.url}/v2",
    }
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *options, **environ: CliRunner(env=variables | environ).invoke(
        cli.main, ["mirror", "--once", *options]
    )
    signal.signal(signal.SIGTERM, before)


def report(result: Result) -> str:
    """Return the one line that a successful command reported, without the parts that depend on the time."""
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (0, "", 1)
    line = re.fullmatch(rf"{TIME} (.*) in \d+\.\d\d s (.*)\n", result.stderr)
    assert line
    return " ".join(line.groups())


def error(result: Result) -> str:
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    return result.stderr.removeprefix("Error: ").removesuffix("\n")


# --- the report ---


def test_sync_is_reported_in_one_line(run: Run, glance: FakeGlance) -> None:
    glance.put(glance_image(1), glance_image(2), glance_image(3))
    assert report(run()) == "Full sync: 3 images (3 new, 0 changed, 0 deleted, 0 failed, 0 incomplete)."
    glance.remove(1)
    glance.put(glance_image(2, name="new"))
    assert report(run()) == "Full sync: 2 images (0 new, 1 changed, 1 deleted, 0 failed, 0 incomplete)."


def test_image_with_a_problem_is_reported_in_a_line_of_its_own(run: Run, glance: FakeGlance) -> None:
    glance.put(glance_image(1, owner="a/b"), *(glance_image(number, visibility="shared") for number in (2, 3, 4, 5)))
    for number in (2, 3, 4, 5):
        glance.responses[f"{LIST}/{image_id(number)}/members"] = FakeResponse(500 + number)
    summary, *problems = run().stderr.splitlines()
    assert summary.endswith("(1 new, 0 changed, 0 deleted, 4 failed, 1 incomplete).")
    assert [problem.partition(" ")[2] for problem in problems] == [
        *(f"Image {image_id(number)}: A response with status {500 + number}" for number in (5, 4, 3, 2)),
        f"Image {image_id(1)}: Copied without the owner 'a/b'",
    ]


def test_control_characters_are_escaped(run: Run, glance: FakeGlance) -> None:
    glance.images["x\n\x1b[31m"] = glance_image(1) | {"id": "x\n\x1b[31m"}
    assert r" Image x\n\x1b[31m: A malformed image (id: " in run().stderr


def test_sample_is_replaced(run: Run, glance: FakeGlance, location: str) -> None:
    ensure_catalog(open_catalog(location), load_sample, tombstone_days=30)
    glance.put(glance_image(1))
    assert report(run()) == "Full sync: 1 images (1 new, 0 changed, 0 deleted, 0 failed, 0 incomplete)."


# --- errors ---


def test_failed_sync_is_an_error(run: Run, glance: FakeGlance) -> None:
    glance.responses[LIST] = FakeResponse(503)
    assert error(run()) == "A response with status 503 occurred at the image service"


def test_unreachable_glance_is_an_error(run: Run, location: str) -> None:
    message = error(run(OS_IMAGE_ENDPOINT_OVERRIDE="http://127.0.0.1:1"))
    assert message.startswith("A connection failure occurred at the image service: Unable to")
    assert is_missing(location)


def test_catalog_with_imported_images_is_an_error(run: Run, location: str, name: str) -> None:
    catalog_at(location, image(1))
    assert error(run()) == str(CatalogNotEmpty(name))


def test_replica_of_another_glance_is_an_error(run: Run, glance: FakeGlance, name: str) -> None:
    run()
    with running_glance() as other:
        message = error(run(OS_IMAGE_ENDPOINT_OVERRIDE=other.url))
    assert message == str(UpstreamMismatch(name, glance.url, other.url))


def test_second_mirror_is_an_error(run: Run, glance: FakeGlance, location: str, name: str) -> None:
    with open_catalog(location).mirror_lock():
        assert error(run()) == str(MirrorAlreadyRunning(name))
    assert glance.take_requests() == []


@postgresql_only
def test_lost_lock_is_an_error(run: Run, glance: FakeGlance, location: str, name: str) -> None:
    glance.before[LIST] = lambda: execute(location, END_MIRROR)
    assert error(run()) == str(MirrorLockLost(name))
    assert is_missing(location)


@sqlite_only
def test_catalog_that_cannot_be_created_is_an_error(run: Run, location: str) -> None:
    Path(location).touch()
    assert error(run(IMAGES_CATALOG=f"{location}/catalog.db")).startswith(f"{location}/catalog.db: ")


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"OS_CLOUD": "none"}, "Cloud none was not found"),
        ({"OS_IMAGE_ENDPOINT_OVERRIDE": ""}, "the service catalog has no image service"),
        ({"OS_AUTH_TYPE": "password"}, "Auth plugin requires parameters which were not given: auth_url"),
    ],
    ids=str,
)
def test_invalid_cloud_configuration_is_an_error(run: Run, location: str, environ: dict[str, str], reason: str) -> None:
    assert error(run(**environ)).startswith(f"Invalid cloud configuration: {reason}")
    assert is_missing(location)


def test_missing_extra_is_named(run: Run, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keystoneauth1.exceptions", None)
    for module in ("app.mirror.client", "app.mirror.cloud"):
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.delattr(module, raising=False)
    missing = "The command mirror needs keystoneauth1.exceptions, which is not installed"
    assert error(run()) == f"{missing}: {sys.executable} -m pip install 'compute-images[mirror]'"
    assert is_missing(location)


@pytest.mark.parametrize(
    "options", [("--interval", "0"), ("--interval", "x"), ("--full-sync-interval", "-1"), ("x",)], ids=str
)
def test_invalid_argument_is_a_usage_error(run: Run, options: tuple[str, ...]) -> None:
    assert run(*options).exit_code == 2


# --- the command as a process ---


@pytest.fixture
def replica(location: str, tmp_path: Path, glance: FakeGlance) -> Replica:
    return Replica(
        tmp_path, {"IMAGES_CATALOG": location, "OS_AUTH_TYPE": "none", "OS_IMAGE_ENDPOINT_OVERRIDE": glance.url}
    )


def test_mirror_continues_after_failures_until_sigterm(replica: Replica, glance: FakeGlance) -> None:
    glance.put(glance_image(1))
    with replica.mirrored("--interval", "0.1") as mirror:
        mirror.await_syncs(2, matching="Incremental sync: 1 images in")
        glance.responses[LIST] = FakeResponse(503)
        mirror.await_syncs(2, matching="Z Sync failed: A response with status 503 occurred at the image service$")
        glance.responses.clear()
        glance.put(glance_image(2))
        mirror.await_syncs(1, matching=r"Incremental sync: 2 images in .* \(1 new, 0 changed, 0 deleted, 0 failed, ")
        glance.put(glance_image(3, name=5))
        mirror.await_syncs(3, matching="1 failed")
        assert len([line for line in mirror.lines if f"Image {image_id(3)}: A malformed image" in line]) == 1
        assert mirror.terminate() == 0
    assert mirror.lines[0].partition(" ")[2].startswith("Full sync: 1 images in ")
    assert list(replica.images()) == [image_id(1), image_id(2)]


@pytest.mark.parametrize("during_sync", [True, False])
def test_sigterm_ends_the_mirror_and_releases_its_lock(replica: Replica, glance: FakeGlance, during_sync: bool) -> None:
    glance.put(glance_image(1))
    if during_sync:
        glance.responses[LIST] = NO_RESPONSE
    with replica.mirrored() as mirror:
        until(lambda: bool(glance.requests))
        if not during_sync:
            until(lambda: len(mirror.lines) == 1)
        assert mirror.terminate() == 0
        assert len(mirror.lines) == (not during_sync)
    glance.responses.clear()
    replica.sync()


@pytest.mark.parametrize(("options", "signal_"), [(("--once",), signal.SIGTERM), ((), signal.SIGKILL)], ids=str)
def test_signal_ends_the_process_without_a_report_or_a_catalog(
    replica: Replica, location: str, glance: FakeGlance, options: tuple[str, ...], signal_: signal.Signals
) -> None:
    glance.responses[LIST] = NO_RESPONSE
    with replica.mirrored(*options) as mirror:
        until(lambda: bool(glance.requests))
        mirror.process.send_signal(signal_)
        assert mirror.process.wait(20) == -signal_
        assert mirror.lines == []
    assert is_missing(location)
    glance.responses.clear()
    replica.sync()


@postgresql_only
def test_lost_lock_ends_the_process(replica: Replica, location: str, name: str) -> None:
    with replica.mirrored("--interval", "0.1") as mirror:
        mirror.await_syncs(2)
        execute(location, END_MIRROR)
        assert mirror.process.wait(20) == 1
        assert mirror.lines[-1] == f"Error: {MirrorLockLost(name)}"
    replica.sync()


def test_libraries_write_nothing_to_standard_error(replica: Replica) -> None:
    credentials = {"USERNAME": "u", "PASSWORD": "p", "PROJECT_NAME": "p", "AUTH_TYPE": "password"}
    domains = {"USER_DOMAIN_ID": "default", "PROJECT_DOMAIN_ID": "default"}
    variables = {"AUTH_URL": "http://127.0.0.1:1", **credentials, **domains}
    result = replica.sync_once(**{f"OS_{name}": value for name, value in variables.items()})
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("Error: A connection failure occurred at the image service: ")
