"""A service whose catalog was recorded from another one gives the same responses."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from click.testing import CliRunner

from app.cli import main
from tests.integration.server.service import Service, serving
from tests.support.generator import images
from tests.support.images import catalog_of
from tests.support.projects import PROJECT

LIST = f"/v2/{PROJECT}/images/detail"
BASE = "http://compute.test"
QUERIES = ("", "?limit=3", "?type=SERVER", "?status=ERROR", "?changes-since=2000-01-01T00:00:00Z&limit=500")


def pages(service: Service, query: str, token: str = "") -> list[bytes]:
    """Return the bodies of all pages."""
    path, bodies = f"{LIST}{query}", []
    while path:
        response = httpx2.get(f"{service.url}{path}", headers={"X-Auth-Token": token})
        bodies.append(response.content)
        (link,) = response.json().get("images_links", [{"href": ""}])
        path = link["href"] and f"{LIST}?{urlsplit(link['href']).query}"
    return bodies


def command(*arguments: str, **variables: str) -> str:
    """Run a command in this process, which has to succeed, and return its output."""
    result = CliRunner(env=variables).invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_recorded_service_responds_as_the_recorded_one(tmp_path: Path) -> None:
    catalog_of(tmp_path, *(each for each in images(300) if each["status"] != "DELETED"))
    variables: dict[str, Any] = {"IMAGES_COMPUTE_URL": BASE, "IMAGES_MAX_LIMIT": "50"}
    original: dict[str, Any] = {"IMAGES_CATALOG": str(tmp_path / "catalog.db")}
    copy: dict[str, Any] = {"IMAGES_CATALOG": str(tmp_path / "copy.db")}
    token, file = command("token", "add", PROJECT, **original), str(tmp_path / "images.json")
    with serving(tmp_path, **variables, **original, IMAGES_AUTH="token") as service:
        expected = [pages(service, query, token) for query in QUERIES]
        url = f"{service.url}/v2/{PROJECT}"
        command("import", "--from-compute", url, "--token", token, "--output", file)
    command("import", file, **copy)
    with serving(tmp_path, **variables, **copy) as service:
        assert [pages(service, query) for query in QUERIES] == expected
    assert len(expected[0]) > 1
