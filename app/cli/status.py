"""The command that shows the status of the catalog."""

from collections.abc import Iterator, Mapping

import click
import orjson

from app.catalog.engine import SchemaState
from app.catalog.engines import open_catalog
from app.catalog.models import JsonObject
from app.catalog.status import describe_catalog
from app.settings import Settings
from app.text import escape_control_characters


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
@click.pass_obj
def status(settings: Settings, as_json: bool) -> None:
    """Show what the catalog contains, the state of the mirror, and which processes use the catalog.

    All images that the mirror could not copy, or not completely, are listed with the reasons. With PostgreSQL,
    the connections of all machines are listed; with SQLite, processes on Linux, except those in other containers.
    """
    document = describe_catalog(open_catalog(settings.catalog))
    if as_json:
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        return
    for label, lines in _sections(document):
        for number, line in enumerate(lines):
            click.echo(f"{'' if number else label:12}{escape_control_characters(line)}")


def _sections(document: JsonObject) -> Iterator[tuple[str, list[str]]]:
    """Yield the label and the lines of each part of the status."""
    catalog = document["catalog"]
    yield "Version", [document["version"]]
    migrated_by = f'last migration "{catalog["migration"]}", by version {catalog["migrated_by"] or "unknown"}'
    outdated = [] if catalog["is_current"] else [SchemaState.OUTDATED.value]
    yield "Catalog", [f"{catalog['name']}, {catalog['bytes']} bytes", migrated_by, *outdated]
    if catalog["is_current"]:
        images, tokens = document["images"], document["tokens"]
        groups = (images["by_status"], images["by_visibility"])
        yield "Images", [str(images["count"]), *(_counts(group) for group in groups if group)]
        yield "Tombstones", [str(document["tombstones"])]
        yield "Tokens", [f"{tokens['valid']} valid, {tokens['expired']} expired"]
        yield "Mirror", list(_mirror(document["mirror"])) if document["mirror"] else ["none"]
    yield "Processes", _processes(document["processes"])


def _counts(group: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in group.items())


def _mirror(mirror: JsonObject) -> Iterator[str]:
    yield f"of {mirror['upstream']}"
    full_sync_age = mirror["full_sync_age"]
    full_sync = "unknown" if full_sync_age is None else f"{full_sync_age} s ago"
    yield f"last successful sync: {mirror['age']} s ago; last full sync: {full_sync}"
    if mirror["error"]:
        yield f"the last sync failed: {mirror['error']}"
    for key, problem in (("failed", "not copied"), ("incomplete", "not copied completely")):
        yield f"{len(mirror[key])} images {problem}"
        yield from (f"  {image_id}: {reason}" for image_id, reason in mirror[key].items())


def _processes(processes: list[JsonObject] | None) -> list[str]:
    if processes is None:
        return ["unknown: this system does not list locks of the catalog"]
    if not processes:
        return ["none has the catalog open"]
    return [f"{_place(each)} {_role(each)}: {each['command']}" for each in processes]


def _place(process: JsonObject) -> str:
    return f"{process['host']} {process['pid']}" if process["host"] else str(process["pid"])


def _role(process: JsonObject) -> str:
    role = "mirror" if process["is_mirror"] else "has it open"
    return f"{role}, writes now" if process["is_writing"] else role
