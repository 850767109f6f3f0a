"""Files and functions of the service are short."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import app

MAX_FILE_LINES, MAX_FUNCTION_LINES = 250, 35
FOLDER = Path(app.__file__).parent


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the name of each function and its number of lines, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, line_count(node) - (line_count(node.body[0]) if ast.get_docstring(node) else 0)


def line_count(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert {name: lines for name, lines in functions(ast.parse(text)) if lines > MAX_FUNCTION_LINES} == {}
