"""The layout: imports run one way, down the floors of the house."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the top. A room imports from floors below its own; on one floor, from its neighbours to the right.
FLOORS = [
    ["cli"],
    ["server"],
    ["factory"],
    ["protocol"],
    ["access_log", "docs", "middleware", "images", "metadata", "security", "service", "validation"],
    ["mirror"],
    ["current", "catalog_file"],
    ["bridge", "answers", "keystone", "identity", "views", "freshness", "catalog", "contract"],
    ["bodies", "settings", "schemas", "timestamps", "tenants", "faults", "resources"],
]
ORDER = [room for floor in FLOORS for room in floor]


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "app").parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "app":
            names = [node.module] if node.module != "app" else [f"app.{each.name}" for each in node.names]
            yield from (name.split(".")[1] for name in names)


FILES = sorted(path for path in (ROOT / "app").rglob("*.py") if path.parent != ROOT / "app" or path.stem != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_from_below(path: Path) -> None:
    room = room_of(path)
    for imported in set(imports(path)) - {room}:
        assert ORDER.index(room) < ORDER.index(imported), f"{room} imports {imported}"


def test_every_room_has_its_floor() -> None:
    assert {room_of(path) for path in FILES} == set(ORDER)


def test_the_files_of_the_catalog_import_one_way() -> None:
    order = ["__init__", "change", "find", "load", "tokens", "upstream", "file", "search", "write", "schema"]
    for path in (ROOT / "app" / "catalog").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("app.catalog."):
                assert order.index(path.stem) < order.index(node.module.rpartition(".")[2])


def test_no_module_is_long() -> None:
    for path in FILES:
        assert path.read_text().count("\n") <= 250, path
