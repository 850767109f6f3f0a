"""The README: that it tells of everything a person can set, call and ask for, and tells it right."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest
from starlette.testclient import TestClient

from app import cli
from app.contract.document import Contract
from app.settings import Settings
from tests.conftest import Serve

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

SERVICE = "http://127.0.0.1:8774"


def cells(heading: str) -> list[list[str]]:
    """Give the tables of a section, row by row."""
    section = re.split(r"^## ", README, flags=re.MULTILINE)
    (text,) = [each for each in section if each.startswith(heading)]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_the_settings_are_listed_with_their_defaults() -> None:
    said = {row[0].strip("`"): row[1].strip("`") for row in cells("Settings")[2:]}
    derived = {
        "IMAGES_COMPUTE_URL": "the request's scheme and host",
        "IMAGES_GLANCE_URL": "IMAGES_COMPUTE_URL",
        "IMAGES_KEYSTONE_URL": "the credentials' own",
    }
    defaults = {each.metadata["variable"]: str(each.default) for each in fields(Settings) if each.default is not None}
    assert said == defaults | derived


def test_the_commands_and_options_are_listed() -> None:
    rows = [row[0].strip("`").split() for row in cells("Fill it")[2:]]
    said = [" ".join(word for word in row if word.islower()) for row in rows]
    assert said == list(words("compute-images", cli.main))


def words(name: str, command: click.Command) -> Iterator[str]:
    """Give what can be said to a command: the names of those in its group, or its own and its options'."""
    if isinstance(command, click.Group):
        for each, below in command.commands.items():
            yield from words(f"{name} {each}", below)
    else:
        yield name
        yield from (option.opts[0] for option in command.params if isinstance(option, click.Option))


def test_the_parameters_are_listed() -> None:
    said = {name for row in cells("Call it")[2:] for name in re.findall(r"`([\w-]+)`", row[0])}
    assert set(Contract.load(secured=False).operations["listImagesDetails"].query) <= said


def test_the_paths_are_listed_and_lead_somewhere(client: TestClient) -> None:
    paths = [path for row in cells("Call it") for path in re.findall(r"`(/[^`]*)`", row[0])]
    assert set(Contract.load(secured=False).document["paths"]) <= set(paths)
    image = client.get("/v2/openstack/images?limit=1").json()["images"][0]["id"]
    for path in paths:
        url = path.format(tenant_id="openstack", image_id=image, key="kernel_id")
        assert client.get(url).status_code == 200


CALLS = re.findall(r"^    \$ (curl .*)\n    (.*)$", README, flags=re.MULTILINE)


@pytest.mark.parametrize(("command", "answer"), CALLS)
def test_the_calls_are_answered_as_shown(serve: Serve, sample_catalog: Path, command: str, answer: str) -> None:
    client = serve(sample_catalog, compute_url=SERVICE, glance_url=SERVICE)
    url = shlex.split(command)[-1]
    assert client.get(url.removeprefix(SERVICE)).text == answer


def test_there_are_calls_to_try() -> None:
    assert len(CALLS) == 2


def test_the_names_for_generated_clients_are_the_contracts() -> None:
    (sentence,) = re.findall(r"names to generate from: ([^.]*)\.", README)
    document = Contract.load(secured=False)
    names = set(document.operations) | set(document.document["components"]["schemas"])
    assert set(re.findall(r"`(\w+)`", sentence)) <= names


def test_the_rooms_are_listed_as_they_are() -> None:
    (tree,) = re.findall(r"## How it is built\n\n((?:    .*\n|\n)+)", README)
    said = set(re.findall(r"\b\w+\.py\b", tree))
    assert said == {path.name for path in (ROOT / "app").rglob("*.py") if path.name != "__init__.py"}
