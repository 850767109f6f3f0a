"""How a mirror runs: one for a catalog, how often, with how much patience; and what the command says."""

import io
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from app import cli
from app.catalog.documents import load_sample
from app.catalog.models import SyncCounts
from app.catalog.replica import UpstreamMismatch
from app.catalog.transfer import ensure_catalog
from app.cli.mirror import _with_progress
from app.errors import CatalogUnavailable
from app.mirror import scheduler as running
from app.mirror.scheduler import MirrorAlreadyRunning, backoff, run_forever, single_instance
from app.mirror.sync import SyncFailed, SyncReport
from tests.integration.openstack.copies import Copy
from tests.integration.server.service import until
from tests.support.clock import Clock
from tests.support.fake_glance import SILENCE, Said, Stand, glance_image, standing
from tests.support.images import catalog_of, image, image_id

GOOD = SyncReport(is_whole=False, images=0, copied=SyncCounts(0, 0, 0), failed={}, seconds=0)

# --- one for a catalog ---


def test_a_second_mirror_of_a_catalog_says_so(tmp_path: Path) -> None:
    catalog = tmp_path / "folder" / "catalog.db"
    link = tmp_path / "link.db"
    link.symlink_to(catalog)
    with single_instance(catalog):
        with (
            pytest.raises(MirrorAlreadyRunning, match=f"^Another mirror copies into {link} already.$"),
            single_instance(link),
        ):
            pass
        with (
            pytest.raises(MirrorAlreadyRunning, match=f"^Another mirror copies into {catalog} already.$"),
            single_instance(catalog),
        ):
            pass
        with single_instance(tmp_path / "folder" / "other.db"):
            pass


def test_the_next_may_come_however_the_last_ended(tmp_path: Path) -> None:
    for error in (ValueError, SystemExit, KeyboardInterrupt):
        with pytest.raises(error), single_instance(tmp_path / "catalog.db"):
            raise error
    with single_instance(tmp_path / "catalog.db"):
        pass


def test_a_folder_that_cannot_be_made_is_an_error_of_the_catalog(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(CatalogUnavailable, match=r"/file/catalog\.db: "),
        single_instance(tmp_path / "file" / "catalog.db"),
    ):
        pass


# --- how often ---

everies = st.floats(0.1, 1e6)
failures = st.integers(1, 10_000)


@given(everies)
def test_a_pass_follows_after_so_many_seconds(every: float) -> None:
    assert backoff(every, 0) == every


@given(everies, failures)
def test_after_failures_it_comes_later_but_not_much_later_than_five_minutes(every: float, failed: int) -> None:
    longer = max(every, min(300, every * 2 ** min(failed, 30)))
    assert every <= longer <= backoff(every, failed) <= longer * 1.5


def test_mirrors_that_failed_together_do_not_come_back_together() -> None:
    assert len({backoff(60, 3) for _ in range(20)}) > 1


def test_a_part_of_up_to_a_half_is_added_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    for most, pauses in (
        (lambda longer, _: longer, [120, 240, 300, 300]),
        (lambda _, most: most, [180, 360, 450, 450]),
    ):
        monkeypatch.setattr("app.mirror.scheduler.random.uniform", most)
        assert [backoff(60, failed) for failed in (1, 2, 3, 9999)] == pauses
    assert backoff(600, 5) == 900


class Ended(Exception):
    """The test has seen enough."""


class Copying:
    """Stands where a mirror is expected: its passes end as they are told to, and take their time."""

    def __init__(self, clock: Clock, *ends: SyncReport | Exception, takes: float = 0) -> None:
        self.last_whole: float | None = None
        self.passes: list[tuple[float, bool]] = []  # when they began, and whether they were whole
        self.told: list[SyncReport | SyncFailed] = []
        self._ends = [*ends, Ended()]
        self._clock = clock
        self._takes = takes
        self._began = clock.time()

    def make_pass(self, *, whole: bool) -> SyncReport:
        """End the pass."""
        began = self._clock.time()
        self._clock.tick(self._takes)
        end = self._ends.pop(0)
        if isinstance(end, Ended):
            raise end
        self.passes.append((began - self._began, whole))
        if isinstance(end, Exception):
            raise end
        if whole:
            self.last_whole = began
        return end

    def run(self, *, every: float = 60, whole_every: float = 600) -> None:
        """Have it kept copying until there is no end left."""
        with pytest.raises(Ended):
            run_forever(self, every=every, whole_every=whole_every, tell=self.told.append)  # type: ignore[arg-type]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(running, "time", clock)
    return clock


def test_passes_are_made_every_so_often_and_whole_ones_now_and_then(clock: Clock) -> None:
    copying = Copying(clock, *[GOOD] * 7)
    copying.run(every=60, whole_every=180)
    assert copying.passes == [
        (0, True), (60, False), (120, False), (180, True), (240, False), (300, False), (360, True),
    ]  # fmt: skip
    assert copying.told == [GOOD] * 7


def test_passes_may_all_be_whole(clock: Clock) -> None:
    copying = Copying(clock, *[GOOD] * 3)
    copying.run(every=1, whole_every=0)
    assert copying.passes == [(0, True), (1, True), (2, True)]


def test_a_mirror_that_begins_anew_goes_on_where_the_last_one_ended(clock: Clock) -> None:
    copying = Copying(clock, *[GOOD] * 3)
    copying.last_whole = clock.time() - 90
    copying.run(every=60, whole_every=180)
    assert copying.passes == [(0, False), (60, False), (120, True)]


@pytest.mark.parametrize(("takes", "begins"), [(59, [0, 60, 120]), (60, [0, 60, 120]), (75, [0, 75, 150])])
def test_the_time_that_a_pass_takes_is_none_that_is_waited(clock: Clock, takes: float, begins: list[float]) -> None:
    copying = Copying(clock, *[GOOD] * 3, takes=takes)
    copying.run(every=60, whole_every=1e9)
    assert [began for began, _ in copying.passes] == begins


def test_after_failures_passes_come_later_and_after_a_good_one_as_ever(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.mirror.scheduler.random.uniform", lambda longer, _: longer)
    failed = SyncFailed("It failed.")
    copying = Copying(clock, GOOD, failed, failed, failed, failed, GOOD, GOOD, failed, GOOD)
    copying.run(every=60, whole_every=1e9)
    begins = [began for began, _ in copying.passes]
    assert [later - sooner for sooner, later in pairwise(begins)] == [
        60, 120, 240, 300, 300, 60, 60, 120,
    ]  # fmt: skip
    assert copying.told == [GOOD, failed, failed, failed, failed, GOOD, GOOD, failed, GOOD]


def test_a_whole_pass_is_tried_until_it_goes_well(clock: Clock) -> None:
    copying = Copying(clock, SyncFailed(), SyncFailed(), GOOD, GOOD)
    copying.run()
    assert [whole for _, whole in copying.passes] == [True, True, True, False]


def test_what_never_goes_better_ends_it(clock: Clock, tmp_path: Path) -> None:
    copying = Copying(clock, GOOD, UpstreamMismatch(tmp_path, "a", "b"))
    with pytest.raises(UpstreamMismatch):
        run_forever(copying, every=60, whole_every=600, tell=copying.told.append)  # type: ignore[arg-type]
    assert copying.told == [GOOD]


# --- the command ---

TIME = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def stand() -> Iterator[Stand]:
    with standing() as stand:
        yield stand


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


Run = Callable[..., Result]


@pytest.fixture
def run(catalog: Path, stand: Stand) -> Iterator[Run]:
    """Give a function that runs the command in a cloud that asks for no credentials."""
    variables = {
        "IMAGES_CATALOG": str(catalog),
        "HOME": str(catalog.parent),
        "OS_AUTH_TYPE": "none",
        "OS_IMAGE_ENDPOINT_OVERRIDE": f"{stand.url}/v2",
    }
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *options, **environ: CliRunner(env=variables | environ).invoke(cli.main, ["mirror", *options])
    signal.signal(signal.SIGTERM, before)


def lines(result: Result) -> list[str]:
    """Give the lines that the command wrote, without what depends on the time."""
    assert result.stdout == ""
    return [re.sub(rf"^{TIME} | in \d+\.\d\d s", "", line) for line in result.stderr.splitlines()]


def test_a_pass_is_told_of_in_one_line(run: Run, stand: Stand) -> None:
    stand.put(glance_image(1), glance_image(2), glance_image(3))
    first = run("--once")
    assert re.fullmatch(
        rf"{TIME} All images: 3 in \d+\.\d\d s; 3 new, 0 changed, 0 deleted, 0 not copied\.\n", first.stderr
    )
    stand.drop(1)
    stand.put(glance_image(2, name="new"))
    second = run("--once")
    assert lines(second) == ["All images: 2; 0 new, 1 changed, 1 deleted, 0 not copied."]
    assert (first.exit_code, second.exit_code) == (0, 0)


def test_images_that_could_not_be_copied_are_told_of_three_at_most(run: Run, stand: Stand) -> None:
    stand.put(glance_image(1), *(glance_image(number, visibility="shared") for number in (2, 3, 4, 5)))
    for number in (2, 3, 4, 5):
        stand.says[f"GET /v2/images/{image_id(number)}/members"] = Said(500 + number)
    result = run("--once")
    reasons = [f"{image_id(number)}: An answer with status {500 + number}" for number in (5, 4, 3)]
    assert lines(result) == [f"All images: 5; 1 new, 0 changed, 0 deleted, 4 not copied: {'; '.join(reasons)}"]
    assert result.exit_code == 0


def test_what_images_say_cannot_break_the_line(run: Run, stand: Stand) -> None:
    stand.images["x\n\x1b[31m"] = glance_image(1) | {"id": "x\n\x1b[31m"}
    (line,) = lines(run("--once"))
    assert r": x\n\x1b[31m: A malformed image (id: " in line


def test_a_pass_that_fails_is_told_of_in_one_line(run: Run, stand: Stand) -> None:
    stand.says["GET /v2/images"] = Said(503)
    result = run("--once")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: An answer with status 503 occurred at the image service\n",
    )


def test_a_glance_that_is_not_there_is_told_of_in_one_line(run: Run, catalog: Path) -> None:
    result = run("--once", OS_IMAGE_ENDPOINT_OVERRIDE="http://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: A failure of the connection occurred at the image service: Unable to")
    assert result.stderr.count("\n") == 1
    assert not catalog.exists()


def test_the_sample_makes_way(run: Run, stand: Stand, catalog: Path) -> None:
    ensure_catalog(catalog, load_sample)
    stand.put(glance_image(1))
    assert lines(run("--once")) == ["All images: 1; 1 new, 0 changed, 0 deleted, 0 not copied."]


def test_imported_images_do_not(run: Run, stand: Stand, catalog: Path) -> None:
    catalog_of(catalog.parent, image(1))
    result = run("--once")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {catalog} has images that were imported; a copy needs a catalog of its own.\n",
    )


def test_a_copy_of_another_glance_is_left_alone(run: Run, stand: Stand, catalog: Path) -> None:
    run("--once")
    with standing() as other:
        result = run("--once", OS_IMAGE_ENDPOINT_OVERRIDE=other.url)
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {catalog} is a copy of {stand.url}; a copy of {other.url} needs a catalog of its own.\n",
    )


def test_a_second_mirror_ends(run: Run, stand: Stand, catalog: Path) -> None:
    with single_instance(catalog):
        result = run("--once")
    assert (result.exit_code, result.stderr) == (1, f"Error: Another mirror copies into {catalog} already.\n")
    assert stand.asked == []


def test_a_catalog_that_cannot_be_made_is_told_of_in_one_line(run: Run, catalog: Path) -> None:
    catalog.touch()
    result = run("--once", IMAGES_CATALOG=str(catalog / "catalog.db"))
    assert result.exit_code == 1
    assert re.fullmatch(rf"Error: {catalog}/catalog\.db: .*\n", result.stderr)


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"OS_CLOUD": "none"}, "Cloud none was not found"),
        ({"OS_IMAGE_ENDPOINT_OVERRIDE": ""}, "its catalog has no image service"),
        ({"OS_AUTH_TYPE": "password"}, "Auth plugin requires parameters which were not given: auth_url"),
    ],
    ids=str,
)
def test_a_cloud_that_cannot_be_used_is_told_of_in_one_line(
    run: Run, catalog: Path, environ: dict[str, str], complaint: str
) -> None:
    result = run("--once", **environ)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: The cloud cannot be used: {complaint}")
    assert result.stderr.count("\n") == 1
    assert not catalog.exists()


def test_what_a_mirror_needs_is_named_where_it_is_missing(
    run: Run, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keystoneauth1.exceptions", None)
    monkeypatch.delitem(sys.modules, "app.mirror.client")
    monkeypatch.delattr("app.mirror.client")
    result = run("--once")
    missing = "The command mirror needs keystoneauth1.exceptions, which is not installed"
    assert (result.exit_code, result.stderr) == (1, f"Error: {missing}: pip install 'compute-images[mirror]'\n")
    assert not catalog.exists()


@pytest.mark.parametrize("options", [("--every", "0"), ("--every", "x"), ("--whole-every", "-1"), ("x",)], ids=str)
def test_a_wrong_argument_is_a_usage_error(run: Run, options: tuple[str, ...]) -> None:
    assert run(*options).exit_code == 2


def test_other_commands_need_nothing_that_a_mirror_needs() -> None:
    code = "import sys, app.cli; sys.exit('keystoneauth1' in sys.modules or 'openstack' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Terminal(io.StringIO):
    """Stands where a terminal is expected, or a file."""

    def __init__(self, *, is_one: bool) -> None:
        super().__init__()
        self._is_one = is_one

    def isatty(self) -> bool:
        """Tell whether it is one."""
        return self._is_one


@pytest.mark.parametrize("terminal", [True, False])
def test_a_pass_over_all_images_shows_how_far_it_is_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    screen = Terminal(is_one=terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    pages: list[Any] = [[1, 2], [3]]
    assert list(_with_progress(iter(pages), 3)) == pages
    assert ("Copying" in screen.getvalue(), "100%" in screen.getvalue()) == (terminal, terminal)


# --- the command as a process ---


@pytest.fixture
def copy(tmp_path: Path, stand: Stand) -> Copy:
    return Copy(tmp_path, {"OS_AUTH_TYPE": "none", "OS_IMAGE_ENDPOINT_OVERRIDE": stand.url})


def test_a_running_mirror_goes_on(copy: Copy, stand: Stand) -> None:
    stand.put(glance_image(1))
    with copy.mirrored("--every", "0.1") as mirror:
        mirror.await_passes(2, which="Changed images: 1 in")
        stand.says["GET /v2/images"] = Said(503)
        mirror.await_passes(2, which="Z The pass failed: An answer with status 503 occurred at the image service$")
        stand.says.clear()
        stand.put(glance_image(2))
        mirror.await_passes(1, which="Changed images: 2 in .* 1 new, 0 changed, 0 deleted, 0 not copied.$")
        assert mirror.terminate() == 0
    assert mirror.said[0].partition(" ")[2].startswith("All images: 1 in ")
    assert list(copy.images()) == [image_id(1), image_id(2)]


@pytest.mark.parametrize("when", ["between passes", "within one"])
def test_sigterm_ends_a_mirror_and_the_next_may_come(copy: Copy, stand: Stand, when: str) -> None:
    stand.put(glance_image(1))
    if when == "within one":
        stand.says["GET /v2/images"] = SILENCE
    with copy.mirrored() as mirror:
        until(lambda: bool(stand.requests))
        if when == "between passes":
            until(lambda: len(mirror.said) == 1)
        assert mirror.terminate() == 0
        assert len(mirror.said) == (when == "between passes")
    stand.says.clear()
    copy.fill()


def test_sigterm_ends_a_single_pass_without_success(copy: Copy, stand: Stand) -> None:
    stand.says["GET /v2/images"] = SILENCE
    with copy.mirrored("--once") as mirror:
        until(lambda: bool(stand.requests))
        assert mirror.terminate() == -signal.SIGTERM
        assert mirror.said == []
    assert not copy.catalog.exists()
    stand.says.clear()
    copy.fill()


def test_the_libraries_say_nothing_of_their_own(copy: Copy) -> None:
    credentials = {"USERNAME": "u", "PASSWORD": "p", "PROJECT_NAME": "p", "AUTH_TYPE": "password"}
    domains = {"USER_DOMAIN_ID": "default", "PROJECT_DOMAIN_ID": "default"}
    variables = {"AUTH_URL": "http://127.0.0.1:1", **credentials, **domains}
    ended = copy.once(**{f"OS_{name}": value for name, value in variables.items()})
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith("Error: A failure of the connection occurred at the image service: ")


def test_a_mirror_that_is_killed_leaves_the_catalog_to_the_next(copy: Copy, stand: Stand) -> None:
    stand.says["GET /v2/images"] = SILENCE
    with copy.mirrored() as mirror:
        until(lambda: bool(stand.requests))
        mirror.process.kill()
        assert mirror.process.wait() == -signal.SIGKILL
    stand.says.clear()
    copy.fill()
