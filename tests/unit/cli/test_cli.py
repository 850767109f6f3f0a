"""The command: its arguments, input, output and messages. tests/integration/server/ tests how it serves."""

import os
import pty
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
from click.testing import CliRunner, Result

from app import cli
from app.catalog.engines import open_catalog
from app.cli.serve import allowed_hosts, check_auth
from app.resources import resource_path
from app.settings import Settings
from app.text import quote
from tests.support.catalogs import is_missing, sqlite_only, state
from tests.support.images import Fields, catalog_at, file_of, image, image_id
from tests.support.projects import PROJECT

MAIN = (sys.executable, "-c", "from app.cli import main; main()")

Run = Callable[..., Result]
Write = Callable[..., str]
Export = Callable[..., list[Any]]


@pytest.fixture
def name(location: str) -> str:
    """Return the name of the catalog in messages."""
    return open_catalog(location).name


@pytest.fixture
def run(location: str) -> Run:

    def invoke(*arguments: str, stdin: bytes = b"", **environ: str) -> Result:
        return CliRunner(env={"IMAGES_CATALOG": location} | environ).invoke(cli.main, arguments, input=stdin)

    return invoke


@pytest.fixture
def write(tmp_path: Path) -> Write:

    def to_file(*images: Fields, name: str = "images.json") -> str:
        (tmp_path / name).write_bytes(file_of(*images))
        return str(tmp_path / name)

    return to_file


@pytest.fixture
def exported(run: Run) -> Export:
    """Return a function that exports images, or some fields of each."""

    def export(*fields: str, options: tuple[str, ...] = ("--deleted",)) -> list[Any]:
        images = orjson.loads(run("export", *options).stdout_bytes)["images"]
        return [tuple(each.get(field) for field in fields) for each in images] if fields else images

    return export


def test_import_reports_what_changed(run: Run, write: Write, name: str) -> None:
    assert run("import", write(image(1), image(2))).stderr == (
        f"Imported 2 images into {name}: 2 new, 0 changed, 0 unchanged, 0 pruned.\n"
    )
    assert run("import", "--prune", write(image(2, name="new"), image(3))).stderr == (
        f"Imported 2 images into {name}: 1 new, 1 changed, 0 unchanged, 1 pruned.\n"
    )


def test_several_files_are_imported_in_order(run: Run, write: Write, exported: Export) -> None:
    assert run("import", write(image(2), name="a.json"), "-", stdin=file_of(image(1))).exit_code == 0
    assert exported("id") == [(image_id(2),), (image_id(1),)]


def test_both_documented_responses_can_be_imported(run: Run, exported: Export) -> None:
    files = [str(resource_path(f"data/{name}.json")) for name in ("list-images-details", "failed-replication")]
    assert run("import", *files).exit_code == 0
    (failed,) = [each for each in exported() if each["name"] == "fj_sa_20180427_003"]
    assert (failed["OS-EXT-IMG-SIZE:size"], list(failed["metadata"])) == (194008676, ["sync_status_reason"])


def test_example_is_printed_and_can_be_imported(run: Run, exported: Export) -> None:
    assert run("import", "--strict", "-", stdin=run("import", "--example").stdout_bytes).exit_code == 0
    assert exported("name", "status") == [("minimal", "ACTIVE"), ("with all fields", "SAVING")]
    assert orjson.loads(run("import", "--schema").stdout_bytes)["required"] == ["images"]


def test_options_of_import_apply_to_images_without_owner_and_visibility(
    run: Run, write: Write, exported: Export
) -> None:
    file = write(image(1), image(2, owner=PROJECT, visibility="community"))
    options = ("--tenant", "ABCDEF01-2345-6789-abcd-ef0123456789", "--visibility", "private")
    assert run("import", *options, file).exit_code == 0
    assert exported("owner", "visibility") == [
        ("abcdef0123456789abcdef0123456789", "private"),
        (PROJECT, "community"),
    ]


def test_prune_deletes_only_images_of_the_owner(run: Run, write: Write, exported: Export) -> None:
    run("import", write(image(1), image(2, owner=PROJECT), image(3, owner=PROJECT)))
    assert run("import", "--tenant", PROJECT.upper(), "--prune", write(image(3))).exit_code == 0
    assert exported("status") == [("ACTIVE",), ("DELETED",), ("ACTIVE",)]


def test_server_of_an_image_is_stored_as_metadata(run: Run, write: Write, exported: Export) -> None:
    server = {"id": "s1", "links": [LINK, LINK]}
    metadata: list[Fields] = [{"a": None}, {"instance_uuid": None}, {"instance_uuid": "s1"}]
    run("import", write(*(image(number, server=server, metadata=each) for number, each in enumerate(metadata))))
    assert exported("metadata") == [
        ({"a": None, "instance_uuid": "s1"},),
        ({"instance_uuid": "s1"},),
        ({"instance_uuid": "s1"},),
    ]


def test_imported_tombstone_has_no_progress(run: Run, write: Write, exported: Export) -> None:
    run("import", write(image(1, status="DELETED", progress=100)))
    assert exported("progress") == [(0,)]


@pytest.mark.parametrize(
    ("location", "file"),
    [
        (":memory:", ":memory:"),  # a name with a special meaning for SQLite
        ("data/new/a.db", "data/new/a.db"),
        ("sqlite:///data/a.db", "data/a.db"),
        ("sqlite:///{folder}/b.db", "b.db"),
    ],
)
def test_catalog_is_a_path_or_a_sqlite_url(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    catalog = location.format(folder=tmp_path)
    assert run("import", "-", stdin=file_of(image(1)), IMAGES_CATALOG=catalog).exit_code == 0
    assert (tmp_path / file).is_file()
    assert len(orjson.loads(run("export", IMAGES_CATALOG=catalog).stdout_bytes)["images"]) == 1


LINK = {"rel": "self", "href": "http://a.test"}


def test_invalid_images_are_named_and_nothing_is_imported(run: Run, write: Write, location: str) -> None:
    valid, invalid = write(image(3), name="valid.json"), write(image(1), image(2, minDisk=-1, minRam="x"))
    result = run("import", valid, invalid, "-", stdin=b"")
    place, accepted = f"{invalid}, image 2 (id '{image_id(2)}')", "a whole number from 0 to 2147483647"
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"Error: {place}: minDisk: -1 is not {accepted}",
        f'{place}: minRam: "x" is not {accepted}',
        "standard input: it is not JSON: Input is a zero-length, empty document: line 1 column 1 (char 0)",
        "3 errors; nothing was imported",
    ]
    assert is_missing(location)


def test_unreadable_file_is_reported_in_one_line(run: Run) -> None:
    result = run("import", "/proc/self/mem")
    assert (result.exit_code, result.stderr) == (1, "Error: Could not open file '/proc/self/mem': Input/output error\n")


def test_import_reports_what_was_left_out(run: Run, write: Write) -> None:
    fields = {f"extra-{number:02}": None for number in range(21)}
    result = run("import", write(image(1, **fields), image(2, **{"extra-20\n": 1, "extra-20": 1})))
    names = ", ".join(["extra-20 (2 images)", *(f"extra-{number:02} (1 image)" for number in range(19))])
    assert result.stderr.splitlines()[1:] == [f"Left out: {names}, 2 other fields."]
    result = run("import", write(image(1, Name="x", minram=1), image(2, Name="y")))
    hints = "Name (2 images; did you mean 'name'?), minram (1 image; did you mean 'minRam'?)"
    assert result.stderr.splitlines()[1:] == [f"Left out: {hints}."]
    assert run("import", "--strict", write(image(1, Name=1))).stderr.endswith(
        "'Name' is not a field of image files; did you mean 'name'?\n"
    )


@pytest.mark.parametrize("options", [("--dry-run",), ()])
def test_import_warns_of_access_that_the_files_do_not_intend(
    run: Run, location: str, write: Write, options: tuple[str, ...]
) -> None:
    catalog_at(location, image(1, owner=PROJECT))
    unseen = [{"id": image_id(number), "visibility": "private"} for number in (1, 2, 3)]  # the first keeps its owner
    shared = {"id": image_id(4), "visibility": "shared"}
    members = {"id": image_id(5), "members": [PROJECT]}
    fine = image(6, visibility="shared", members=[PROJECT])
    one, two = write(*unseen, fine), write(shared, members, name="two.json")
    problem = "without an owner, and private or shared without members: visible to no project"
    unused = "with members that have no effect, because the visibility is not shared"
    assert run("import", *options, one, two).stderr.splitlines()[:-1] == [
        f"Warning: {one}: 2 images {problem}; the first is {image_id(2)}.",
        f"Warning: {two}: 1 image {problem}; the first is {image_id(4)}.",
        f"Warning: {two}: 1 image {unused}; the first is {image_id(5)}.",
    ]


NEXT_PAGE = {"images_links": [{"rel": "next", "href": "http://a.test"}]}


def test_list_that_goes_on_is_imported_with_a_warning_and_not_pruned(run: Run, location: str, exported: Export) -> None:
    page = orjson.dumps({"images": [image(1)]} | NEXT_PAGE)
    for options in ((), ("--dry-run",)):
        result = run("import", "--prune", *options, "-", stdin=page)
        reason = "--prune needs a complete list, but standard input links to another page of its list"
        assert (result.exit_code, result.stderr) == (1, f"Error: {reason}; nothing was imported.\n")
        assert is_missing(location)
    warning = "Warning: standard input links to a next page, whose images are not in the files."
    assert run("import", "-", stdin=page).stderr.splitlines()[0] == warning
    assert exported("id") == [(image_id(1),)]


@pytest.mark.parametrize(("options", "pruned"), [((), 0), (("--prune",), 2), (("--prune", "--tenant", PROJECT), 1)])
def test_dry_run_reports_what_import_would_change_and_changes_nothing(
    run: Run, write: Write, location: str, options: tuple[str, ...], pruned: int
) -> None:
    name = open_catalog(location).name
    new = write(image(1), image(2, name="new", owner=PROJECT), image(6), name="new.json")
    assert run("import", "--dry-run", new).stderr == (
        f"Would import 3 images into {name}: 3 new, 0 changed, 0 unchanged, 0 pruned.\n"
    )
    assert is_missing(location)
    run("import", write(*map(image, (1, 3, 4)), *(image(number, owner=PROJECT) for number in (2, 5))))
    before = state(location)
    preview = run("import", "--dry-run", *options, new).stderr
    assert state(location) == before
    assert preview.startswith("Would import 3 images")
    assert preview.endswith(f" {pruned} pruned.\n")
    assert run("import", *options, new).stderr == preview.replace("Would import", "Imported")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "--tenant", "m/e", "-"), "'m/e' is not a project id: 1 to 64 characters"),
        (("export", "--tenant", "m/e"), "'m/e' is not a project id: 1 to 64 characters"),
        (("import", "--visibility", "x", "-"), "'x' is not one of public, private, shared, community"),
        (("import",), "Specify exactly one source of images: FILE..., --from-compute or --from-glance."),
        (("import", "-", "--from-glance"), "Specify exactly one source of images"),
        (("import", "none.json"), "'[FILE]...': File 'none.json' does not exist."),
        (("import", "--from-compute", "cloud"), "'cloud' is not an http or https URL without user, query and fragment"),
        (("import", "--from-compute", "http://a.test", "--token", "a\nb"), "the token is not 1 to 16384 printable"),
        (("import", "--from-compute", "http://a.test", "--token", "@none"), "'@none' cannot be read as text"),
        (("import", "-", "--token", "x"), "--token can be used with --from-compute only."),
        (("import", "-", "--output", "a.json", "--prune"), "--prune and --dry-run cannot be used with --output."),
        (("import", "-", "--force"), "--force is for --output."),
        (("serve", "--workers", "0"), "0 is not in the range x>=1"),
        (("serve", "--bind", "127.0.0.1"), "'127.0.0.1' is not HOST:PORT or unix:PATH, with a path without colons"),
        (
            ("serve", "--bind", "127.0.0.1:65536"),
            "'127.0.0.1:65536' is not HOST:PORT or unix:PATH, with a path without colons",
        ),
        (("serve", "--bind", "unix:"), "'unix:' is not HOST:PORT or unix:PATH, with a path without colons"),
        (("serve", "--bind", "unix://a"), "'unix://a' is not HOST:PORT or unix:PATH, with a path without colons"),
        (("serve", "--bind", "unix:/a:/b"), "'unix:/a:/b' is not HOST:PORT or unix:PATH, with a path without colons"),
        (("serve", "--bind", "fd://99"), "'fd://99' is not HOST:PORT or unix:PATH, with a path without colons"),
        (("serve", "--bind", ""), "'' is not HOST:PORT or unix:PATH, with a path without colons"),
    ],
)
def test_invalid_argument_is_a_usage_error(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_export_is_equal_to_what_was_imported(run: Run, write: Write) -> None:
    access = {"owner": PROJECT, "visibility": "shared", "members": [PROJECT], "pending_members": [], "os_hidden": True}
    images = [
        image(2, name="a", metadata={"b": "c", "d": None}, **access, **{"OS-EXT-IMG-SIZE:size": None}),
        image(1, **access | {"owner": None, "visibility": "public"}, **{"OS-EXT-IMG-SIZE:size": 5}),
    ]
    run("import", write(*images))
    content = run("export").stdout_bytes
    assert orjson.loads(content) == {"images": images}
    assert "0 new, 0 changed, 2 unchanged, 0 pruned" in run("import", "-", stdin=content).stderr


@pytest.mark.parametrize(
    ("options", "numbers"),
    [((), [1, 2]), (("--tenant", PROJECT), [2]), (("--tenant", PROJECT, "--deleted"), [2, 3])],
)
def test_export_can_select_an_owner_and_include_tombstones(
    run: Run, write: Write, exported: Export, options: tuple[str, ...], numbers: list[int]
) -> None:
    run("import", write(image(1), image(2, owner=PROJECT), image(3, owner=PROJECT, status="DELETED")))
    assert exported("id", options=options) == [(image_id(number),) for number in numbers]


def test_export_of_no_images_can_be_imported(run: Run, write: Write) -> None:
    run("import", write())
    assert orjson.loads(run("export").stdout_bytes) == {"images": []}


def test_export_without_a_catalog_fails_and_creates_none(run: Run, location: str, name: str) -> None:
    result = run("export")
    assert (result.exit_code, result.stdout_bytes) == (1, b"")
    assert result.stderr.startswith(f"Error: {name} ")
    assert result.stderr.count("\n") == 1
    assert is_missing(location)


def test_invalid_setting_is_reported_in_one_line(run: Run) -> None:
    result = run("export", IMAGES_MAX_LIMIT="0")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: IMAGES_MAX_LIMIT is '0'; expected a whole number from 1 to 100000\n",
    )


@pytest.mark.parametrize("command", ["", "serve", "import", "export", "mirror", "token"])
def test_each_command_has_a_help_page(run: Run, command: str) -> None:
    result = run(*filter(None, [command]), "--help")
    assert (result.exit_code, result.stdout.startswith("Usage: ")) == (0, True)


def test_each_option_has_a_help_text() -> None:
    for name, command in cli.main.commands.items():
        assert command.help, name
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.help, (name, parameter.name)


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("no_color", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "bar"),
    [(("import", "images.json"), b"Importing"), (("export",), b"Exporting"), (("export", "-x"), b"")],
)
def test_progress_and_colors_are_for_terminals_only(  # noqa: PLR0913, PLR0917 each is a fixture or a parameter
    write: Write,
    location: str,
    tmp_path: Path,
    is_terminal: bool,
    no_color: str,
    arguments: tuple[str, ...],
    bar: bytes,
) -> None:
    catalog_at(location, image(1))
    write(*map(image, range(300)))
    controller, terminal = pty.openpty()
    with os.fdopen(controller, "rb", buffering=0) as screen, os.fdopen(terminal, "wb") as stderr:
        done = subprocess.run(
            [*MAIN, *arguments],
            env={"IMAGES_CATALOG": location, "TERM": "xterm", "NO_COLOR": no_color},
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=stderr if is_terminal else subprocess.PIPE,
            check=False,
        )
        output = screen.read(100_000) if is_terminal else done.stderr
    assert (b"\x1b" in output) == (is_terminal and (bool(bar) or not no_color))
    assert (b"\x1b[1;31mError" in output) == (is_terminal and not bar and not no_color)
    assert bar in output or not is_terminal
    assert done.returncode == (0 if bar else 2)


def test_write_error_of_export_is_reported_in_one_line(run: Run, write: Write, location: str) -> None:
    run("import", write(image(1)))
    with Path("/dev/full").open("wb") as full:
        exported = subprocess.run(
            [*MAIN, "export"],
            env={"IMAGES_CATALOG": location},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (exported.returncode, exported.stderr) == (1, b"Error: [Errno 28] No space left on device\n")


def test_export_holds_little_of_a_large_catalog_in_memory(location: str) -> None:
    metadata = {str(number): "x" * 255 for number in range(200)}
    images = [image(number, metadata=metadata) for number in range(1000)]
    catalog_at(location, *images)
    code = (
        "import app.cli, atexit, sys, tracemalloc; tracemalloc.start(); "
        "atexit.register(lambda: print(tracemalloc.get_traced_memory()[1], file=sys.stderr)); app.cli.main()"
    )
    exported = subprocess.run(
        [sys.executable, "-c", code, "export"],
        env={"IMAGES_CATALOG": location},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
    assert int(exported.stderr) < 40_000_000 < len(file_of(*images))


def test_server_starts_without_warnings() -> None:
    """httpx2, which Starlette would recommend in a warning, is installed with the extra `test` only."""
    code = "import sys; sys.modules['httpx2'] = None; from app.cli.serve import import_server; import_server()"
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert started.stderr == b""


@pytest.mark.parametrize(
    ("code", "packages"),
    [
        ("import app.cli", {"connexion", "flask", "keystoneauth1", "openstack"}),
        ("from app.cli.serve import import_server; import_server()", {"pygments", "rich"}),
    ],
)
def test_packages_that_are_not_needed_are_not_imported(code: str, packages: set[str]) -> None:
    code += f"; import sys; print(sys.modules.keys() & {packages})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"


@pytest.mark.parametrize(
    ("address", "auth", "insecure"),
    [
        ("127.0.0.1:80", "none", False),
        ("[::1]:80", "none", False),
        ("localhost:80", "none", False),
        ("unix:/run/images", "none", False),
        ("0.0.0.0:80", "none", True),
        ("0.0.0.0:80", "token", False),
    ],
)
def test_address_is_allowed_if_others_cannot_connect_or_need_a_token_or_may(
    address: str, auth: str, insecure: bool
) -> None:
    check_auth(Settings(auth=auth), address, insecure=insecure)


@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80", "[::ffff:127.0.0.1]:80", "images.test:80"])
def test_address_that_others_can_connect_to_needs_authentication(run: Run, location: str, address: str) -> None:
    result = run("serve", "--bind", address)
    assert result.stderr == (
        f"Error: IMAGES_AUTH is none, so everybody who can reach {address} could see and change the images of every "
        "project: set IMAGES_AUTH to token or keystone, or allow this with --insecure.\n"
    )
    assert (result.exit_code, result.stdout, is_missing(location)) == (1, "", True)


def test_missing_catalog_that_was_named_prevents_the_start(run: Run, location: str, name: str) -> None:
    result = run("serve", "--bind", "127.0.0.1:0")
    assert result.stderr == (
        f"Error: {name} holds no catalog yet: create it with migrate, import, mirror or token add, or from the sample "
        "with serve --sample.\n"
    )
    assert (result.exit_code, is_missing(location)) == (1, True)


@sqlite_only
def test_empty_file_prevents_the_start(run: Run, location: str) -> None:
    Path(location).touch()
    result = run("serve", "--bind", "127.0.0.1:0")
    assert (result.exit_code, result.stderr.startswith(f"Error: {location} holds no catalog yet")) == (1, True)


@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80", "images.test:80", "unix:/a"])
def test_test_double_is_served_on_a_loopback_address_only(run: Run, location: str, address: str) -> None:
    result = run("serve", "--bind", address, IMAGES_TEST_DOUBLE="on")
    message = f"IMAGES_TEST_DOUBLE is 'on'; expected 'off' with --bind {address}, which is no loopback address"
    assert (result.exit_code, result.stderr, is_missing(location)) == (1, f"Error: {message}\n", True)


def test_test_double_is_one_process(run: Run, location: str) -> None:
    result = run("serve", "--workers", "4", IMAGES_TEST_DOUBLE="on")
    message = "--workers is 4; expected 1 with IMAGES_TEST_DOUBLE=on, because a test double is one process"
    assert (result.exit_code, result.stderr, is_missing(location)) == (1, f"Error: {message}\n", True)


@pytest.mark.parametrize("double", ["on", "off"])
def test_address_in_use_prevents_the_start(run: Run, location: str, double: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("serve", "--sample", "--bind", address, IMAGES_TEST_DOUBLE=double)
    message = f"Error: {address} is in use by another process: set PORT, or use --bind.\n"
    assert (result.exit_code, result.stderr, is_missing(location)) == (1, message, True)


def test_address_of_another_machine_prevents_the_start(run: Run, location: str) -> None:
    result = run("serve", "--sample", "--bind", "192.0.2.1:80", IMAGES_AUTH="token")
    message = "Error: 192.0.2.1:80 cannot be used (Cannot assign requested address): set PORT, or use --bind.\n"
    assert (result.exit_code, result.stderr, is_missing(location)) == (1, message, True)


LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@pytest.mark.parametrize(
    ("address", "settings", "hosts"),
    [
        ("127.0.0.1:80", Settings(), (*LOOPBACK, "127.0.0.1")),
        ("[0:0::1]:80", Settings(), (*LOOPBACK, "[::1]")),
        ("127.0.0.5:80", Settings(compute_url="https://A.test:8443/x"), (*LOOPBACK, "127.0.0.5", "a.test")),
        ("unix:/run/images", Settings(compute_url="https://A.test:8443/x"), (*LOOPBACK, "a.test")),
        ("localhost:80", Settings(allowed_hosts=("a.test",)), ("a.test",)),
        ("0.0.0.0:80", Settings(), None),
        ("0.0.0.0:80", Settings(allowed_hosts=("a.test",)), ("a.test",)),
        ("127.0.0.1:80", Settings(auth="token"), None),
    ],
)
def test_hosts_are_those_of_loopback_if_only_the_address_keeps_others_out(
    address: str, settings: Settings, hosts: tuple[str, ...] | None
) -> None:
    assert allowed_hosts(settings, address) == hosts


def test_socket_that_cannot_be_created_prevents_the_start(
    run: Run, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog_at(location)
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    problems = {
        "used": "another process uses it",
        "file": "a file or folder is there",
        "none/s": "No such file or directory",
        "s" * 108: "AF_UNIX path too long",
    }
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("used")
        other.listen(0)
        for path, problem in problems.items():
            result = run("serve", "--bind", f"unix:{path}")
            message = f"Error: The socket {quote(path)} cannot be created: {problem}.\n"
            assert (result.exit_code, result.stderr) == (1, message)
    assert Path("used").is_socket()


def test_missing_extra_is_named(run: Run, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keystoneauth1.access", None)  # as if the package was not installed
    monkeypatch.delitem(sys.modules, "app.auth.keystone", raising=False)
    result = run("serve", IMAGES_AUTH="keystone")
    missing = "IMAGES_AUTH=keystone needs keystoneauth1.access, which is not installed"
    assert result.stderr == f"Error: {missing}: {sys.executable} -m pip install 'compute-images[keystone]'\n"
    assert (result.exit_code, is_missing(location)) == (1, True)
