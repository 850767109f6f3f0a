"""Import from a Compute API and from an image service instead of files, and into a file instead of the catalog."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from app import cli
from tests.support.fake_glance import FakeGlance, FakeResponse, glance_image, running_glance
from tests.support.images import Fields, catalog_of, file_of, image, image_id
from tests.support.projects import OTHER_PROJECT, PROJECT

FIRST, SECOND = "GET /v2/p/images/detail", f"GET /v2/p/images/detail?marker={image_id(2)}"
LINKS = [{"rel": "next", "href": f"http://a.test/?marker={image_id(2)}"}]

Run = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[FakeGlance]:
    """Serve an image service, and two pages of a Compute API."""
    with running_glance() as server:
        server.responses[FIRST] = FakeResponse(200, {"images": [image(1), image(2)], "images_links": LINKS})
        server.responses[SECOND] = FakeResponse(200, {"images": [image(3, links=[])]})
        yield server


@pytest.fixture
def run(server: FakeGlance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command; COMPUTE and GLANCE stand for the options that read from the server."""
    monkeypatch.chdir(tmp_path)
    variables = {"HOME": str(tmp_path), "IMAGES_CATALOG": "catalog.db", "OS_AUTH_TYPE": "none", "OS_TOKEN": None}
    cloud = {"OS_IMAGE_ENDPOINT_OVERRIDE": f"{server.url}/v2"}
    sources = {"COMPUTE": ("--from-compute", f"{server.url}/v2/p/"), "GLANCE": ("--from-glance",)}

    def invoke(command: str, *arguments: str, stdin: bytes = b"", **environ: str) -> Result:
        options = [option for each in arguments for option in sources.get(each, (each,))]
        return CliRunner(env=variables | cloud | environ).invoke(cli.main, [command, *options], input=stdin)

    return invoke


def images_of(run: Run, *fields: str) -> list[Any]:
    images = orjson.loads(run("export", "--deleted").stdout_bytes)["images"]
    return [tuple(each[field] for field in fields) for each in images] if fields else images


def test_all_pages_of_a_compute_api_are_imported_as_one_list(run: Run, tmp_path: Path) -> None:
    catalog_of(tmp_path, image(1, visibility="private", owner="p"), image(4))
    for options, verb in ((("--dry-run",), "Would import"), ((), "Imported")):
        result = run("import", "COMPUTE", "--prune", *options)
        assert result.stderr == f"{verb} 3 images into catalog.db: 2 new, 0 changed, 1 unchanged, 1 pruned.\n"
    assert images_of(run, "status", "visibility") == [
        ("ACTIVE", "private"),
        ("DELETED", "public"),
        ("ACTIVE", "public"),
        ("ACTIVE", "public"),
    ]


@pytest.mark.parametrize(
    ("options", "environ"),
    [(("--token", "secret"), {}), (("--token", "@token"), {}), (("--token", "-"), {}), ((), {"OS_TOKEN": "secret"})],
    ids=str,
)
def test_token_comes_from_an_option_a_file_standard_input_or_the_environment(
    run: Run, server: FakeGlance, tmp_path: Path, options: tuple[str, ...], environ: dict[str, str]
) -> None:
    (tmp_path / "token").write_text("secret\n")
    results = [run("import", "COMPUTE", *options, stdin=b"secret\n", **environ)]
    assert [(request.line, request.token) for request in server.requests] == [(FIRST, "secret"), (SECOND, "secret")]
    server.responses[SECOND] = FakeResponse(401)
    results.append(run("import", "COMPUTE", *options, stdin=b"secret\n", **environ))
    assert [each.exit_code for each in results] == [0, 1]
    assert "secret" not in "".join(each.output for each in results)


@pytest.mark.parametrize("output", [(), ("--output", "images.json", "--force")])
@pytest.mark.parametrize("failed", [FakeResponse(500), FakeResponse(200, {"images": [image(3, minDisk=-1)]})])
def test_failed_read_changes_nothing(
    run: Run, server: FakeGlance, tmp_path: Path, output: tuple[str, ...], failed: FakeResponse
) -> None:
    catalog_of(tmp_path, image(9))
    (tmp_path / "images.json").write_bytes(file_of(image(8)))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    server.responses[SECOND] = failed
    result = run("import", "COMPUTE", *output)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith(f"Error: {server.url}/v2/p")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_file_states_only_what_the_compute_api_states(run: Run, tmp_path: Path) -> None:
    assert run("import", "COMPUTE", "--output", "images.json").stderr == "Wrote 3 images to images.json.\n"
    assert orjson.loads((tmp_path / "images.json").read_bytes()) == {"images": [image(1), image(2), image(3)]}
    assert (tmp_path / "images.json").stat().st_mode & 0o777 == 0o600
    written = run("import", "COMPUTE", "--visibility", "private", "--output", "-")
    assert orjson.loads(written.stdout_bytes)["images"][2] == image(3, visibility="private")
    assert not (tmp_path / "catalog.db").exists()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing/images.json", "Could not open file '/missing/images.json': No such file or directory"),
        ("token/images.json", "'token/images.json' cannot be written: Not a directory."),
        ("/dev/null", "'/dev/null' is not a regular file."),
    ],
)
def test_file_that_cannot_be_written_is_an_error(run: Run, path: str, reason: str) -> None:
    Path("token").touch()
    result = run("import", "COMPUTE", "--force", "--output", path)
    assert (result.exit_code, result.stderr) == (1, f"Error: {reason}\n")


def test_existing_file_is_replaced_only_with_force_and_before_anything_is_read(run: Run, server: FakeGlance) -> None:
    Path("images.json").write_bytes(file_of(image(8)))
    result = run("import", "COMPUTE", "--output", "images.json")
    assert (result.exit_code, result.stderr) == (1, "Error: 'images.json' exists: --force replaces it.\n")
    assert (Path("images.json").read_bytes(), server.requests) == (file_of(image(8)), [])
    assert run("import", "COMPUTE", "--force", "--output", "images.json").exit_code == 0
    assert len(orjson.loads(Path("images.json").read_bytes())["images"]) == 3


def test_file_behind_a_symbolic_link_is_replaced(run: Run) -> None:
    Path("link.json").symlink_to("images.json")
    for options in ((), ("--force",)):
        assert run("import", "COMPUTE", *options, "--output", "link.json").exit_code == 0
    assert (Path("link.json").is_symlink(), Path("images.json").is_file()) == (True, True)


GLANCE_IMAGES: list[Fields] = [
    glance_image(1, visibility="private", created="1", updated="2"),
    glance_image(2, visibility="shared"),
    glance_image(3, os_hidden=True, owner=None, size=None, note=True),
    glance_image(4, owner="a/b", status="queued"),
]


def test_images_of_an_image_service_are_those_that_the_mirror_copies(run: Run, server: FakeGlance) -> None:
    server.put(*GLANCE_IMAGES)
    server.share(2, **{PROJECT: "accepted", OTHER_PROJECT: "pending"})
    recorded = run("import", "GLANCE")
    assert recorded.stderr.splitlines() == [
        "Imported 4 images into catalog.db: 4 new, 0 changed, 0 unchanged, 0 pruned.",
        "Left out: owner (1 image).",
    ]
    assert run("mirror", "--once", IMAGES_CATALOG="replica.db").exit_code == 0
    replica = orjson.loads(run("export", IMAGES_CATALOG="replica.db").stdout_bytes)["images"]
    assert sorted(images_of(run), key=str) == sorted(replica, key=str)
    assert "1 new" not in run("import", "GLANCE").stderr


def test_shared_image_that_is_deleted_while_members_are_read_is_omitted(run: Run, server: FakeGlance) -> None:
    server.put(glance_image(1), glance_image(2, visibility="shared"))
    server.before[f"GET /v2/images/{image_id(2)}/members"] = lambda: server.remove(2)
    run("import", "GLANCE")
    assert images_of(run, "id") == [(image_id(1),)]


MALFORMED = f"{{url}}, image 1 (id '{image_id(1)}'): minDisk: -1 is not a whole number from 0 to 2147483647"


@pytest.mark.parametrize(
    ("image_", "path", "message"),
    [
        (glance_image(1), "", "A response with status 500 occurred at the image service"),
        (glance_image(1, visibility="shared"), f"/{image_id(1)}/members", "A response with status 500 occurred at the"),
        (glance_image(1, min_disk=-1), "/", MALFORMED),
    ],
    ids=["list", "members", "image"],
)
def test_image_service_that_cannot_be_read_completely_is_an_error(
    run: Run, server: FakeGlance, image_: Fields, path: str, message: str
) -> None:
    server.put(image_)
    server.responses[f"GET /v2/images{path}"] = FakeResponse(500)
    result = run("import", "GLANCE")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {message.format(url=server.url)}")
    assert not Path("catalog.db").exists()
