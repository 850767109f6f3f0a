"""Mirrors on two machines whose catalog is in PostgreSQL."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from tests.integration.openstack.replica import Replica
from tests.support.fake_glance import FakeGlance, glance_image, running_glance
from tests.support.packages import Missing
from tests.support.postgresql import PASSWORD, Cluster, cluster

pytestmark = pytest.mark.external

LIST = "GET /v2/images"


@pytest.fixture
def glance() -> Iterator[FakeGlance]:
    with running_glance() as server:
        server.put(glance_image(1, name="first"))
        yield server


@pytest.fixture
def database() -> Iterator[Cluster]:
    try:
        with cluster(auth="scram-sha-256") as running:
            yield running
    except Missing as missing:
        pytest.skip(f"Missing: {missing}.")


@pytest.fixture
def machines(tmp_path: Path, database: Cluster, glance: FakeGlance) -> list[Replica]:
    """Return the working folders of two machines, and the settings of their commands."""
    location = database.url(database.create_database(), password=PASSWORD)
    settings = {"IMAGES_CATALOG": location, "OS_AUTH_TYPE": "none", "OS_IMAGE_ENDPOINT_OVERRIDE": glance.url}
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    return [Replica(folder, settings) for folder in folders]


def end_mirror_session(database: Cluster) -> None:
    terminated = database.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    assert terminated == [(True,)]


def test_mirror_on_another_machine_is_an_error_until_the_first_one_ends(machines: list[Replica]) -> None:
    first, second = machines
    with first.mirrored() as mirror:
        mirror.await_syncs(1)
        result = second.sync_once()
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert "postgres:" not in result.stderr  # neither the password nor the user
        assert mirror.terminate() == 0
    second.sync()


def test_mirror_whose_lock_is_lost_ends_without_writing(
    machines: list[Replica], glance: FakeGlance, database: Cluster
) -> None:
    first, second = machines
    is_collected, is_continued = Event(), Event()

    def wait() -> None:
        is_collected.set()
        is_continued.wait(20)

    glance.after[LIST] = wait
    with first.mirrored() as mirror:
        is_collected.wait(20)
        end_mirror_session(database)
        glance.put(glance_image(1, name="second"))
        second.sync()
        is_continued.set()
        assert mirror.process.wait(20) == 1
    assert [line for line in mirror.lines if "lock" in line] == mirror.lines[-1:]
    (shown,) = json.loads(second.run("export").stdout)["images"]
    assert shown["name"] == "second"
