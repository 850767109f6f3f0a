"""Normalization of project ids."""

import pytest

from app.text import normalize_project_id

HEX_ID, DASHED_ID = "abcdef0123456789abcdef0123456789", "abcdef01-2345-6789-abcd-ef0123456789"


@pytest.mark.parametrize("project_id", [HEX_ID, HEX_ID.upper(), DASHED_ID, DASHED_ID.upper()])
def test_uuids_compare_without_case_and_dashes(project_id: str) -> None:
    assert normalize_project_id(project_id) == HEX_ID


@pytest.mark.parametrize("project_id", ["657197", "admin", "Admin", "a-b", HEX_ID.upper()[1:], f"{HEX_ID}-", ""])
def test_other_project_ids_compare_as_they_are(project_id: str) -> None:
    assert normalize_project_id(project_id) == project_id
