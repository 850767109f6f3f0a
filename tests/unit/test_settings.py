"""Settings: what the environment may say, and how it is told when it is wrong."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from app.settings import InvalidSetting, Settings


def test_all_are_optional() -> None:
    assert Settings.from_env({"HOME": "/root"}) == Settings(
        catalog=Path("data/catalog.db"),
        compute_url=None,
        glance_url=None,
        max_limit=1000,
        unknown_parameters="reject",
        port=8774,
        answers_mb=64,
        workers=2,
    )


def test_each_is_read_from_its_variable() -> None:
    environ = {
        "IMAGES_CATALOG": "/var/lib/images.db",
        "IMAGES_COMPUTE_URL": "http://compute.test/api/",
        "IMAGES_GLANCE_URL": "https://[::1]:9292",
        "IMAGES_MAX_LIMIT": "20",
        "IMAGES_UNKNOWN_PARAMETERS": "ignore",
        "IMAGES_AUTH": "keystone",
        "IMAGES_VERDICT_SECONDS": "5",
        "IMAGES_KEYSTONE_URL": "https://keystone.test/v3/",
        "IMAGES_DOCS": "off",
        "IMAGES_STALE_AFTER": "60",
        "IMAGES_STALE_STATUS": "200",
        "IMAGES_TOMBSTONE_DAYS": "7",
        "IMAGES_ACCESS_LOG": "json",
        "IMAGES_ANSWERS_MB": "0",
        "PORT": "80",
        "WEB_CONCURRENCY": "4",
    }
    assert Settings.from_env(environ) == Settings(
        catalog=Path("/var/lib/images.db"),
        compute_url="http://compute.test/api",
        glance_url="https://[::1]:9292",
        max_limit=20,
        unknown_parameters="ignore",
        auth="keystone",
        verdict_seconds=5,
        keystone_url="https://keystone.test/v3",
        docs="off",
        stale_after=60,
        stale_status="200",
        tombstone_days=7,
        access_log="json",
        answers_mb=0,
        port=80,
        workers=4,
    )
    assert {each.metadata["variable"] for each in fields(Settings)} == set(environ)


def test_an_empty_variable_counts_as_none() -> None:
    assert Settings.from_env({"IMAGES_COMPUTE_URL": "", "PORT": ""}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "takes"),
    [
        ("IMAGES_COMPUTE_URL", "compute.test", "an http or https URL"),
        ("IMAGES_COMPUTE_URL", "ftp://compute.test", "an http or https URL"),
        ("IMAGES_COMPUTE_URL", "http://", "an http or https URL"),
        ("IMAGES_COMPUTE_URL", "http://compute.test:0", "an http or https URL"),
        ("IMAGES_COMPUTE_URL", "http://compute.test:65536", "an http or https URL"),
        ("IMAGES_COMPUTE_URL", "http://a b", "an http or https URL"),
        ("IMAGES_COMPUTE_URL", "http://user@compute.test", "an http or https URL"),
        ("IMAGES_GLANCE_URL", "http://glance.test/?a=b", "an http or https URL"),
        ("IMAGES_GLANCE_URL", "http://[::1", "an http or https URL"),
        ("IMAGES_GLANCE_URL", "http://[::1]x", "an http or https URL"),
        ("IMAGES_GLANCE_URL", "http://glance.test/%zz", "an http or https URL"),
        ("IMAGES_GLANCE_URL", "http://glance.test/%", "an http or https URL"),
        ("IMAGES_MAX_LIMIT", "0", "a whole number from 1 to 100000"),
        ("IMAGES_MAX_LIMIT", "1_0", "a whole number from 1 to 100000"),
        ("IMAGES_MAX_LIMIT", "many", "a whole number from 1 to 100000"),
        ("IMAGES_UNKNOWN_PARAMETERS", "Reject", "reject or ignore"),
        ("IMAGES_AUTH", "None", "none, token or keystone"),
        ("IMAGES_VERDICT_SECONDS", "3601", "a whole number from 0 to 3600"),
        ("IMAGES_DOCS", "yes", "on or off"),
        ("PORT", "65536", "a whole number from 1 to 65535"),
        ("WEB_CONCURRENCY", "-1", "a whole number from 1 to 1024"),
    ],
)
def test_a_wrong_one_is_named_with_what_it_takes(variable: str, text: str, takes: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        Settings.from_env({variable: text})
    assert str(raised.value) == f"{variable} is {text!r}; it takes {takes}"


def test_a_misspelt_one_does_not_go_unnoticed() -> None:
    with pytest.raises(
        InvalidSetting, match=r"^IMAGES_CATALOGUE is no setting; settings are IMAGES_CATALOG, IMAGES_COMPUTE_URL,"
    ):
        Settings.from_env({"IMAGES_CATALOGUE": "x"})


def test_they_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]
