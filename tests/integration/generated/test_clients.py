"""Generated clients: all that the contract has, typed, and at one with the running service."""

import re
from datetime import datetime
from typing import Any

import pytest
from inflection import underscore

from app.contract.document import Contract
from tests.integration.generated.conftest import COMPUTE_URL, IMAGES, TENANT, Ended, Generated
from tests.support.images import Fields, image_id

VERSION = ["v2.0", "CURRENT", f"{COMPUTE_URL}/v2/"]


def seen(fields: Fields) -> Fields:
    """Give what the programs print of an image."""
    same = ("id", "name", "status", "progress", "minDisk", "minRam", "metadata")
    times = ("created", "updated")
    return (
        {name: fields[name] for name in same}
        | {name: datetime.fromisoformat(fields[name]).timestamp() for name in times}
        | {"size": fields.get("OS-EXT-IMG-SIZE:size"), "server": fields["metadata"].get("instance_uuid")}
        | {"links": ["self", "bookmark", "alternate"]}
    )


EXPECTED = {
    "filtered": [seen(IMAGES[0])],
    "first page": {"names": ["own"], "links": ["next"]},
    "last page": {"names": [None, None], "links": []},
    "shown": seen(IMAGES[0]),
    "bookmarked": seen(IMAGES[1]),
    "metadata": {"instance_uuid": "a-server", "ramdisk_id": None},
    "metadata updated": {"instance_uuid": "a-server", "ramdisk_id": None, "os": "plan9"},
    "metadata replaced": {"os": "plan9", "edition": "4"},
    "item set": {"os": "inferno"},
    "item shown": {"os": "inferno"},
    "item deleted": 204,
    "metadata left": {"edition": "4"},
    "image deleted": 204,
    "names left": {"names": [None, None], "links": []},
    "tombstones": {"names": ["own"], "links": []},
    "versions": [VERSION],
    "version": VERSION,
    "version of the root": VERSION,
    "health": "available",
    "bad request": {
        "code": 400,
        "message": f"Parameter 'marker': '{image_id(9)}' is not the id of an image that {TENANT} can see.",
    },
    "forbidden": {"code": 403, "message": f"Image '{image_id(2)}' does not belong to the project."},
    "not found": {"code": 404, "message": "Image not found."},
}


def test_the_readmes_command_generates_it_without_a_complaint(generated: Generated) -> None:
    said = re.sub(r" \[[0-9.]+m?s\]$", "", generated.said.stdout, flags=re.MULTILINE)
    assert (generated.said.returncode, said, generated.said.stderr) == (0, generated.expected, "")


def test_it_has_every_operation_of_the_contract(generated: Generated) -> None:
    assert sorted(map(underscore, generated.operations)) == sorted(
        map(underscore, Contract.load(secured=False).operations)
    )


def test_it_passes_the_strict_type_check_together_with_a_program_that_uses_it(checked: Ended) -> None:
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("call", EXPECTED)
def test_it_makes_of_an_answer_what_it_should(answers: Any, call: str) -> None:
    assert answers[call] == EXPECTED[call]


def test_all_that_it_was_used_for_is_looked_at(answers: Any) -> None:
    assert answers.keys() == EXPECTED.keys()
