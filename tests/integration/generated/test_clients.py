"""Generated clients: complete, typed and compatible with the running service."""

import re
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from inflection import underscore

from app.contract.document import Contract
from tests.integration.generated.conftest import COMPUTE_URL, IMAGES, NPM, PROJECT, PYPI, Generated, Result
from tests.support.images import Fields, image_id
from tests.support.npm import modules
from tests.support.packages import environment

pytestmark = pytest.mark.external(install=[partial(environment, *PYPI), partial(modules, *NPM)])

VERSION = ["v2.0", "CURRENT", f"{COMPUTE_URL}/v2/"]


def printed(fields: Fields) -> Fields:
    same = ("id", "name", "status", "progress", "minDisk", "minRam", "metadata")
    times = ("created", "updated")
    return (
        {name: fields[name] for name in same}
        | {name: datetime.fromisoformat(fields[name]).timestamp() for name in times}
        | {"size": fields.get("OS-EXT-IMG-SIZE:size"), "server": fields["metadata"].get("instance_uuid")}
        | {"links": ["self", "bookmark", "alternate"]}
    )


EXPECTED = {
    "filtered": [printed(IMAGES[0])],
    "first page": {"names": ["own"], "links": ["next"]},
    "last page": {"names": [None, None], "links": []},
    "shown": printed(IMAGES[0]),
    "bookmarked": printed(IMAGES[1]),
    "metadata": {"instance_uuid": "a-server", "ramdisk_id": None},
    "metadata updated": {"instance_uuid": "a-server", "ramdisk_id": None, "os": "plan9"},
    "metadata replaced": {"os": "plan9", "edition": "4"},
    "item set": {"os": "inferno"},
    "item shown": {"os": "inferno"},
    "item deleted": 204,
    "remaining metadata": {"edition": "4"},
    "image deleted": 204,
    "remaining names": {"names": [None, None], "links": []},
    "tombstones": {"names": ["own"], "links": []},
    "versions": [VERSION],
    "version": VERSION,
    "version of the root": VERSION,
    "health": "available",
    "bad request": {
        "code": 400,
        "message": f"Parameter 'marker': '{image_id(9)}' is not the id of an image that {PROJECT} can see.",
    },
    "forbidden": {"code": 403, "message": f"Image '{image_id(2)}' does not belong to the project."},
    "not found": {"code": 404, "message": "Image not found."},
}


def test_readme_command_generates_client_without_warnings(generated: Generated) -> None:
    output = re.sub(r" \[[0-9.]+m?s\]$", "", generated.result.stdout, flags=re.MULTILINE)
    assert (generated.result.returncode, output, generated.result.stderr) == (0, generated.expected, "")


def test_client_has_all_operations(generated: Generated) -> None:
    assert sorted(map(underscore, generated.operations)) == sorted(
        map(underscore, Contract.load(secured=False).operations)
    )


def test_client_and_program_pass_strict_type_check(checked: Result) -> None:
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("call", EXPECTED)
def test_result_is_as_expected(results: Any, call: str) -> None:
    assert results[call] == EXPECTED[call]


def test_all_results_are_compared(results: Any) -> None:
    assert results.keys() == EXPECTED.keys()
