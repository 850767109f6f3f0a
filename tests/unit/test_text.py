"""Normalization of ids."""

import pytest

from app.text import normalize_project_id, normalize_uuid

HEX_ID, DASHED_ID = "abcdef0123456789abcdef0123456789", "abcdef01-2345-6789-abcd-ef0123456789"


@pytest.mark.parametrize("text", [HEX_ID, HEX_ID.upper(), DASHED_ID, DASHED_ID.upper()])
def test_uuids_compare_without_case_and_dashes(text: str) -> None:
    assert (normalize_project_id(text), normalize_uuid(text)) == (HEX_ID, DASHED_ID)


@pytest.mark.parametrize("text", ["657197", "admin", "Admin", "a-b", HEX_ID.upper()[1:], f"{HEX_ID}-", ""])
def test_other_project_ids_compare_as_they_are(text: str) -> None:
    assert (normalize_project_id(text), normalize_uuid(text)) == (text, None)
