"""The tables and lists of the README, compared with the code and the contract."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
from starlette.testclient import TestClient

from app import cli
from app.contract.document import Contract
from app.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Return the rows of the table in a section, without the heading of the table."""
    (section,) = re.findall(rf"^### {heading}\n(.*?)(?=^##)", README, flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_settings_are_listed_with_their_defaults() -> None:
    listed = {row[0].strip("`"): row[1].strip("`") for row in rows("Settings")}
    derived = {
        "IMAGES_COMPUTE_URL": "the request's scheme and host",
        "IMAGES_GLANCE_URL": "IMAGES_COMPUTE_URL",
        "IMAGES_ALLOWED_HOSTS": "loopback names, or any",
        "IMAGES_CORS_ORIGINS": "none",
        "IMAGES_ACCESS_LOG_FILE": "standard output",
        "IMAGES_WWW_AUTHENTICATE_URI": "the credentials' `auth_url",
    }
    defaults = {each.metadata["variable"]: str(each.default) for each in fields(Settings) if each.default is not None}
    assert listed == defaults | derived


def test_commands_and_options_are_listed() -> None:
    listed = [row[0].strip("`").split() for row in rows("Commands")]
    words = [" ".join(word for word in row if word.islower()) for row in listed]
    assert words == list(command_words("compute-images", cli.main))


def command_words(name: str, command: click.Command) -> Iterator[str]:
    """Yield the options and the commands of a group; or the name of a command, and its options."""
    if isinstance(command, click.Group):
        yield from (f"{name} {option.opts[0]}" for option in command.params)
        for each, subcommand in command.commands.items():
            yield from command_words(f"{name} {each}", subcommand)
    else:
        yield name
        yield from (option.opts[0] for option in command.params if isinstance(option, click.Option))


def test_query_parameters_are_listed() -> None:
    listed = {name for row in rows("Filters") for name in re.findall(r"`([\w-]+)`", row[0])}
    assert set(Contract.load(secured=False).operations["listImagesDetails"].query) == listed


def test_paths_are_listed_and_exist(client: TestClient) -> None:
    paths = [path for row in rows("Paths") for path in re.findall(r"`(/[^`]*)`", row[0])]
    assert set(Contract.load(secured=False).document["paths"]) <= set(paths)
    image = client.get("/v2/openstack/images?limit=1").json()["images"][0]["id"]
    paths.remove("/metrics")  # which is off by default
    for path in paths:
        url = path.format(tenant_id="openstack", image_id=image, key="kernel_id")
        assert client.get(url).status_code == 200


def test_names_for_generated_clients_are_the_contracts() -> None:
    (sentence,) = re.findall(r"Generated names come from the document([^.]*)\.", README)
    document = Contract.load(secured=False)
    names = set(document.operations) | set(document.document["components"]["schemas"])
    assert set(re.findall(r"`(\w+)`", sentence)) <= names


def test_source_tree_lists_every_module() -> None:
    (tree,) = re.findall(r"### Source tree\n\n```text\n(.*?)```", README, flags=re.DOTALL)
    listed = set(re.findall(r"\b\w+\.py\b", tree))
    assert listed == {path.name for path in (ROOT / "app").rglob("*.py") if path.name != "__init__.py"}


def test_table_of_contents_links_every_section() -> None:
    sections = re.findall(r"^## (.*)$", README, flags=re.MULTILINE)
    links = re.findall(r"^- \[(.*?)\]\(#(.*?)\)$", README, flags=re.MULTILINE)
    assert links == [(title, title.lower().replace(" ", "-")) for title in sections]
