"""The command: what it reads, writes and says. How it serves is tried in tests/server."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import orjson
import pytest
from click.testing import CliRunner, Result

from app import cli
from app.catalog.transfer import export_images
from app.cli import transfer as files
from app.resources import resource_path
from tests.support.images import Fields, file_of, image, image_id

ME = "11111111111111111111111111111111"

Run = Callable[..., Result]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def run(catalog: Path) -> Run:
    """Give a function that runs the command on the test's own catalog."""

    def invoke(*arguments: str, stdin: bytes = b"", **environ: str) -> Result:
        return CliRunner(env={"IMAGES_CATALOG": str(catalog)} | environ).invoke(cli.main, arguments, input=stdin)

    return invoke


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Give a function that writes a file of images, and gives its name."""

    def to_file(*images: Fields, name: str = "images.json") -> str:
        (tmp_path / name).write_bytes(file_of(*images))
        return str(tmp_path / name)

    return to_file


Write = Callable[..., str]


def stored(catalog: Path) -> list[tuple[str, str | None, str]]:
    return [(record.id, record.owner, record.visibility) for record in export_images(catalog, deleted=True)]


def test_an_import_says_what_it_did(run: Run, write: Write, catalog: Path) -> None:
    assert run("import", write(image(1), image(2))).stderr == (
        f"Imported 2 images into {catalog}: 2 new, 0 changed, 0 unchanged, 0 pruned.\n"
    )
    assert run("import", "--prune", write(image(2, name="new"), image(3))).stderr == (
        f"Imported 2 images into {catalog}: 1 new, 1 changed, 0 unchanged, 1 pruned.\n"
    )


def test_several_files_are_one_import(run: Run, write: Write, catalog: Path) -> None:
    result = run("import", write(image(2), name="a.json"), "-", stdin=file_of(image(1)))
    assert (result.exit_code, stored(catalog)) == (0, [(image_id(2), None, "public"), (image_id(1), None, "public")])


def test_both_documented_answers_can_be_imported(run: Run, catalog: Path) -> None:
    files = [str(resource_path(f"data/{name}.json")) for name in ("list-images-details", "failed-replication")]
    assert run("import", *files).exit_code == 0
    (record,) = [each for each in export_images(catalog) if each.name == "fj_sa_20180427_003"]
    assert (record.size, list(orjson.loads(record.metadata))) == (194008676, ["sync_status_reason"])


def test_what_an_image_does_not_say_is_said_for_all(run: Run, write: Write, catalog: Path) -> None:
    owner = "ABCDEF01-2345-6789-abcd-ef0123456789"
    file = write(image(1), image(2, owner=ME, visibility="community"))
    assert run("import", "--tenant", owner, "--visibility", "private", file).exit_code == 0
    assert stored(catalog) == [
        (image_id(1), "abcdef0123456789abcdef0123456789", "private"),
        (image_id(2), ME, "community"),
    ]


def test_only_what_the_owner_has_is_pruned(run: Run, write: Write, catalog: Path) -> None:
    run("import", write(image(1), image(2, owner=ME), image(3, owner=ME)))
    assert run("import", "--tenant", ME.upper(), "--prune", write(image(3))).exit_code == 0
    assert [record.status for record in export_images(catalog, deleted=True)] == ["ACTIVE", "DELETED", "ACTIVE"]


def test_the_server_of_an_image_goes_into_its_metadata(run: Run, write: Write, catalog: Path) -> None:
    server = {"id": "s1", "links": [LINK, LINK]}
    metadata: list[Fields] = [{"a": None}, {"instance_uuid": None}, {"instance_uuid": "s1"}]
    run("import", write(*(image(number, server=server, metadata=each) for number, each in enumerate(metadata))))
    assert [orjson.loads(record.metadata) for record in export_images(catalog)] == [
        {"a": None, "instance_uuid": "s1"},
        {"instance_uuid": "s1"},
        {"instance_uuid": "s1"},
    ]


def test_a_tombstone_has_no_progress(run: Run, write: Write, catalog: Path) -> None:
    run("import", write(image(1, status="DELETED", progress=100)))
    assert [record.progress for record in export_images(catalog, deleted=True)] == [0]


def test_a_catalog_is_a_file_whatever_its_name(
    run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("import", write(image(1)), IMAGES_CATALOG=":memory:")
    assert (tmp_path / ":memory:").is_file()
    assert len(orjson.loads(run("export", IMAGES_CATALOG=":memory:").stdout_bytes)["images"]) == 1


LINK = {"rel": "self", "href": "http://a.test"}
BAD_IMAGES: list[tuple[Fields, str]] = [
    ({"status": "active"}, """status: "active" is not one of"""),
    ({"minDisk": "1"}, '''minDisk: "1" is not of type "integer"'''),
    ({"minRam": 2**31}, "minRam: 2147483648 is greater than the maximum of 2147483647"),
    ({"OS-EXT-IMG-SIZE:size": 2**63}, "OS-EXT-IMG-SIZE:size: 9223372036854775808 is greater than the maximum of"),
    ({"metadata": {"a": 1}}, '''metadata.a: 1 is not of types "null", "string"'''),
    ({"created": "2020-01-01"}, """created: "2020-01-01" does not match"""),
    ({"owner": "me"}, """owner: "me" does not match"""),
    ({"visibility": "secret"}, """visibility: "secret" is not one of"""),
    ({"members": "me"}, '''members: "me" is not of type "array"'''),
    ({"members": ["me"]}, """members[0]: "me" does not match"""),
    ({"id": "00000000-0000-4000-8000-00000000000A"}, 'id: "00000000-0000-4000-8000-00000000000A" does not match'),
    ({"name": "a\0"}, r'name: "a\u0000" does not match'),
    ({"metadata": {"a\n\x1b[31m": 1}}, r"metadata.a\n\x1b[31m: 1 is not of types"),
    ({"server": {"id": "", "links": [LINK, LINK]}}, 'server.id: "" is shorter than 1 character'),
    (
        {"server": {"id": "s1", "links": [LINK, LINK]}, "metadata": {"instance_uuid": "s2"}},
        "server.id is not the metadata's instance_uuid",
    ),
    ({"colour": "red"}, "Additional properties are not allowed ('colour' was unexpected)"),
]


@pytest.mark.parametrize(("fields", "complaint"), BAD_IMAGES)
def test_a_bad_image_is_named_and_nothing_is_imported(
    run: Run, write: Write, catalog: Path, fields: Fields, complaint: str
) -> None:
    file = write(image(1), bad := image(2, **fields))
    result = run("import", file)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {file}, image 2 (id '{bad['id']}'): {complaint}")
    assert result.stderr.count("\n") == 1
    assert not catalog.exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not JSON: "),
        (b'{"images": [', "is not JSON: "),
        (b'{"images": [{"id": NaN}]}', "is not JSON: "),
        (b'{"images": [{"name": "\\ud800"}]}', "is not JSON: "),
        (b"\xff\xfe", "is not JSON: "),
        (b"[]", ': [] is not of type "object"'),
        (b"{}", ': "images" is a required property'),
        (b'{"images": [{"name": ' + b"[" * 300 + b"]" * 300 + b"}]}", "it is nested too deeply"),
        (b'{"images": ' + b"[" * 300 + b"]" * 300 + b"}", "it is nested too deeply"),
        (b'{"images": {}}', ': images: {} is not of type "array"'),
        (b'{"images": [1]}', ': images[0]: 1 is not of type "object"'),
        (b'{"images": [{}]}', """, image 1 (id 'None'): "id" is a required property"""),
    ],
)
def test_what_is_no_document_of_images_is_refused(run: Run, catalog: Path, content: bytes, complaint: str) -> None:
    result = run("import", "-", stdin=content)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert result.stderr.startswith("Error: standard input")
    assert not catalog.exists()


def test_a_bad_file_among_good_ones_stops_the_import(run: Run, write: Write, catalog: Path) -> None:
    result = run("import", write(image(1), name="good.json"), write(image(2, id="x"), name="bad.json"))
    assert (result.exit_code, catalog.exists()) == (1, False)


def test_an_image_that_comes_twice_is_refused(run: Run, write: Write) -> None:
    first, second = write(image(1), name="a.json"), write(image(2), image(1), name="b.json")
    assert run("import", first, second).stderr == (
        f"Error: {second}, image 2 (id '{image_id(1)}'): the id came before, in {first}, image 1\n"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("import", "--tenant", "me", "-"), "'me' is not a UUID, with or without dashes, or the word openstack"),
        (("export", "--tenant", "me"), "'me' is not a UUID, with or without dashes, or the word openstack"),
        (("import", "--visibility", "x", "-"), "'x' is not one of public, private, shared, community"),
        (("import",), "Missing argument 'FILE...'"),
        (("import", "none.json"), "'FILE...': File 'none.json' does not exist."),
        (("serve", "--workers", "0"), "0 is not in the range x>=1"),
        (("serve", "--bind", "127.0.0.1"), "'127.0.0.1' is not HOST:PORT"),
        (("serve", "--bind", "127.0.0.1:65536"), "'127.0.0.1:65536' is not HOST:PORT"),
        (("serve", "--bind", "fd://99"), "'fd://99' is not HOST:PORT"),
        (("serve", "--bind", ""), "'' is not HOST:PORT"),
    ],
)
def test_a_wrong_argument_is_a_usage_error(run: Run, arguments: tuple[str, ...], complaint: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, complaint in result.stderr) == (2, True), result.stderr


def test_an_export_is_what_was_imported(run: Run, write: Write, tmp_path: Path) -> None:
    images = [
        image(2, name="a", visibility="shared", owner=ME, members=[ME], metadata={"b": "c", "d": None}),
        image(1, visibility="public", members=[], **{"OS-EXT-IMG-SIZE:size": 5}),
    ]
    run("import", write(*images))
    exported = run("export").stdout_bytes
    assert orjson.loads(exported) == {"images": images}
    again = run("import", "-", stdin=exported)
    assert "0 new, 0 changed, 2 unchanged, 0 pruned" in again.stderr


def test_an_export_can_be_narrowed_to_an_owner_and_widened_to_tombstones(run: Run, write: Write) -> None:
    run("import", write(image(1), image(2, owner=ME), image(3, owner=ME, status="DELETED")))

    def exported(*options: str) -> list[str]:
        return [each["id"][-1] for each in orjson.loads(run("export", *options).stdout_bytes)["images"]]

    assert exported() == ["1", "2"]
    assert exported("--tenant", ME) == ["2"]
    assert exported("--tenant", ME, "--deleted") == ["2", "3"]


def test_an_export_of_no_images_can_be_imported(run: Run, write: Write) -> None:
    run("import", write())
    assert orjson.loads(run("export").stdout_bytes) == {"images": []}


def test_an_export_without_a_catalog_says_so(run: Run, catalog: Path) -> None:
    result = run("export")
    assert (result.exit_code, result.stderr) == (1, f"Error: {catalog} holds no catalog yet\n")
    assert result.stdout_bytes == b""
    assert not catalog.exists()


def test_a_wrong_setting_is_said_in_one_line(run: Run) -> None:
    result = run("export", IMAGES_MAX_LIMIT="0")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: IMAGES_MAX_LIMIT is '0'; it takes a whole number from 1 to 100000\n",
    )


@pytest.mark.parametrize("command", ["", "serve", "import", "export", "mirror", "token"])
def test_help_is_there(run: Run, command: str) -> None:
    result = run(*filter(None, [command]), "--help")
    assert (result.exit_code, result.stdout.startswith("Usage: ")) == (0, True)


def test_every_option_says_what_it_is_for() -> None:
    for name, command in cli.main.commands.items():
        assert command.help, name
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.help, (name, parameter.name)


@pytest.mark.parametrize(("terminal", "shown"), [(True, True), (False, False)])
def test_a_long_import_shows_how_far_it_is_at_a_terminal(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch, terminal: bool, shown: bool
) -> None:
    bars: list[str] = []
    original = click.progressbar

    def bar(*arguments: object, label: str, **options: object) -> object:
        bars.append(label)
        return original(*arguments, label=label, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(click, "progressbar", bar)
    monkeypatch.setattr(files, "_at_a_terminal", lambda: terminal)
    result = run("import", write(*(image(number) for number in range(1000))))
    assert "1000 new" in result.stderr
    assert bars == (["Importing"] if shown else [])
    run("import", write(image(1)))
    assert len(bars) == shown


def test_an_output_that_cannot_be_written_is_said_in_one_line(run: Run, write: Write, catalog: Path) -> None:
    run("import", write(image(1)))
    with Path("/dev/full").open("wb") as full:
        exported = subprocess.run(
            [sys.executable, "-c", "from app.cli import main; main()", "export"],
            env={"IMAGES_CATALOG": str(catalog)},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (exported.returncode, exported.stderr) == (1, b"Error: [Errno 28] No space left on device\n")


def test_serving_begins_without_warnings() -> None:
    """Even where there is no httpx2, which comes with the tests alone, and Starlette would rather have it."""
    code = "import sys; sys.modules['httpx2'] = None; from app.cli.serve import imported_server; imported_server()"
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert started.stderr == b""


def test_only_serving_imports_connexion() -> None:
    code = "import sys, app.cli; sys.exit('connexion' in sys.modules or 'flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("bind", "auth", "warned"),
    [
        ("127.0.0.1:80", "none", False),
        ("[::1]:80", "none", False),
        ("localhost:80", "none", False),
        ("0.0.0.0:80", "none", True),
        ("[::]:80", "none", True),
        ("images.test:80", "none", True),
        ("0.0.0.0:80", "token", False),
    ],
)
def test_a_service_that_asks_nobody_for_a_token_warns_where_others_reach_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, bind: str, auth: str, warned: bool
) -> None:
    monkeypatch.setattr("app.server.gunicorn.Server.run", lambda _: None)
    served = run("serve", "--bind", bind, IMAGES_AUTH=auth)
    assert served.exit_code == 0
    assert (
        f"Warning: nobody is asked for a token (IMAGES_AUTH is none): whoever reaches {bind} can see and change the "
        "images of every project.\n" in served.stderr
    ) == warned


def test_what_asking_keystone_needs_is_named_where_it_is_missing(
    run: Run, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keystoneauth1.access", None)
    monkeypatch.delitem(sys.modules, "app.auth.keystone", raising=False)
    refused = run("serve", IMAGES_AUTH="keystone")
    missing = "IMAGES_AUTH=keystone needs keystoneauth1.access, which is not installed"
    assert refused.stderr == f"Error: {missing}: pip install 'compute-images[keystone]'\n"
    assert (refused.exit_code, catalog.exists()) == (1, False)
