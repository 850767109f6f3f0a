"""Settings: which variables there are, which values they accept, and the messages for others."""

import re
from dataclasses import FrozenInstanceError, fields

import pytest

from app.settings import InvalidSetting, Settings


def test_all_settings_are_optional() -> None:
    assert Settings.from_env({"HOME": "/root"}) == Settings()
    assert (Settings().catalog, Settings().port, Settings().compute_url) == ("data/catalog.db", 8774, None)


def test_each_setting_is_read_from_its_variable() -> None:
    environ = {
        "IMAGES_CATALOG": "/var/lib/images.db",
        "IMAGES_COMPUTE_URL": "http://compute.test/api/",
        "IMAGES_GLANCE_URL": "https://[::1]:9292",
        "IMAGES_MAX_LIMIT": "20",
        "IMAGES_QUERY_TIMEOUT": "3",
        "IMAGES_UNKNOWN_PARAMETERS": "ignore",
        "IMAGES_AUTH": "keystone",
        "IMAGES_TOKEN_CACHE_TIME": "5",
        "IMAGES_WWW_AUTHENTICATE_URI": "https://keystone.test/v3/",
        "IMAGES_ALLOWED_HOSTS": "Images.test., *.images.test,[0:0::1], *",
        "IMAGES_CORS_ORIGINS": "https://a.test, http://a.test:80/,http://[::1]:8080",
        "IMAGES_DOCS": "off",
        "IMAGES_STALE_AFTER": "60",
        "IMAGES_STALE_STATUS": "200",
        "IMAGES_TOMBSTONE_DAYS": "7",
        "IMAGES_ACCESS_LOG": "on",
        "IMAGES_ACCESS_LOG_FILE": "/var/log/images.log",
        "IMAGES_LOG_LEVEL": "debug",
        "IMAGES_METRICS": "on",
        "IMAGES_LOG_FORMAT": "json",
        "IMAGES_RESPONSE_CACHE_MB": "0",
        "PORT": "80",
        "WEB_CONCURRENCY": "4",
        "IMAGES_TEST_DOUBLE": "off",
    }
    assert Settings.from_env(environ) == Settings(
        catalog="/var/lib/images.db",
        compute_url="http://compute.test/api",
        glance_url="https://[::1]:9292",
        max_limit=20,
        query_timeout=3,
        unknown_parameters="ignore",
        auth="keystone",
        token_cache_time=5,
        www_authenticate_uri="https://keystone.test/v3",
        allowed_hosts=("images.test", "*.images.test", "[::1]", "*"),
        cors_origins=("https://a.test", "http://a.test", "http://[::1]:8080"),
        docs="off",
        stale_after=60,
        stale_status="200",
        tombstone_days=7,
        access_log="on",
        access_log_file="/var/log/images.log",
        log_level="debug",
        metrics="on",
        log_format="json",
        response_cache_mb=0,
        port=80,
        workers=4,
        test_double="off",
    )
    assert {each.metadata["variable"] for each in fields(Settings)} == set(environ)


@pytest.mark.parametrize(
    "location",
    [
        *("catalog.db", "../a b.db", "/user=a/host.db", ":memory:", "sqlite:///data/a.db", "sqlite:////a.db"),
        *(
            "postgresql://user:secret@a.test:1,b.test/images?sslmode=verify-full",
            "postgres://",
            "postgresql:///?service=a",
        ),
    ],
)
def test_catalog_is_a_path_or_a_url_of_a_database(location: str) -> None:
    assert Settings.from_env({"IMAGES_CATALOG": location}).catalog == location


def test_empty_variable_counts_as_unset() -> None:
    assert Settings.from_env({"IMAGES_COMPUTE_URL": "", "PORT": ""}) == Settings()


HOSTS = "comma-separated hosts without ports, such as images.example.com or *.example.com, or *"
ORIGINS = "comma-separated origins, such as https://example.com, or *"
LOCATION = "a path, sqlite:///path, or a connection URI of libpq, such as postgresql://USER@HOST/DATABASE"
URL, LIMIT = "an http or https URL", "a whole number from 1 to 100000"


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("IMAGES_CATALOG", "mysql://host/catalog", LOCATION),
        ("IMAGES_CATALOG", "sqlite://catalog.db", LOCATION),
        ("IMAGES_CATALOG", "sqlite:///", LOCATION),
        ("IMAGES_COMPUTE_URL", "compute.test", URL),
        ("IMAGES_COMPUTE_URL", "ftp://compute.test", URL),
        ("IMAGES_COMPUTE_URL", "http://", URL),
        ("IMAGES_COMPUTE_URL", "http://compute.test:0", URL),
        ("IMAGES_COMPUTE_URL", "http://compute.test:", URL),
        ("IMAGES_COMPUTE_URL", "http://[::1]:/", URL),
        ("IMAGES_COMPUTE_URL", "http://compute.test:65536", URL),
        ("IMAGES_COMPUTE_URL", "http://a b", URL),
        ("IMAGES_GLANCE_URL", "http://glance.test/?", URL),
        ("IMAGES_GLANCE_URL", "http://[::1", URL),
        ("IMAGES_GLANCE_URL", "http://[::1]x", URL),
        ("IMAGES_GLANCE_URL", "http://glance.test/%zz", URL),
        ("IMAGES_GLANCE_URL", "http://glance.test/%", URL),
        ("IMAGES_MAX_LIMIT", "0", LIMIT),
        ("IMAGES_MAX_LIMIT", "100001", LIMIT),
        ("IMAGES_MAX_LIMIT", "1_0", LIMIT),
        ("IMAGES_MAX_LIMIT", "many", LIMIT),
        ("IMAGES_UNKNOWN_PARAMETERS", "Reject", "reject or ignore"),
        ("IMAGES_AUTH", "None", "none, token or keystone"),
        ("IMAGES_ACCESS_LOG_FILE", "/var/log/", "the path of a file"),
        ("IMAGES_LOG_LEVEL", "INFO", "debug, info, warning or error"),
        ("IMAGES_TOKEN_CACHE_TIME", "3601", "a whole number from 0 to 3600"),
        *(
            ("IMAGES_ALLOWED_HOSTS", each, HOSTS)
            for each in ("a:80", "[::1]:80", "::1", "a,,b", "*a", "a.*", "http://a")
        ),
        *(
            ("IMAGES_CORS_ORIGINS", each, ORIGINS)
            for each in ("a.test", "null", "https://a.test/x", "https://*.a.test")
        ),
        ("IMAGES_DOCS", "yes", "on or off"),
        ("IMAGES_ACCESS_LOG", "json", "off or on"),
        ("IMAGES_TEST_DOUBLE", "yes", "off or on"),
        ("PORT", "65536", "a whole number from 1 to 65535"),
        ("WEB_CONCURRENCY", "-1", "a whole number from 1 to 1024"),
    ],
)
def test_invalid_value_is_reported_with_what_is_accepted(variable: str, text: str, expected: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        Settings.from_env({variable: text})
    assert str(raised.value) == f"{variable} is {text!r}; expected {expected}"


@pytest.mark.parametrize(
    ("variable", "text", "shown"),
    [
        ("IMAGES_CATALOG", "mysql://user:s3cret@host/catalog", "mysql:…@host/catalog"),
        ("IMAGES_CATALOG", "postgresql:/user:s3@s3cret@host/db", "postgresql:…@host/db"),
        ("IMAGES_CATALOG", "postgresql+psycopg://host/db?user=a&password=s3cret", "postgresql+psycopg://host/db?…"),
        ("IMAGES_CATALOG", "host=db user=u password=s3cret dbname=x", "…"),
        ("IMAGES_CATALOG", "sslmode=require  password = 's3://cret'", "sslmode=require  …"),
        ("IMAGES_COMPUTE_URL", "http://user:s3cret@compute.test", "http:…@compute.test"),
    ],
)
def test_credentials_of_an_invalid_url_are_not_shown(variable: str, text: str, shown: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(f"{variable} is '{shown}'; expected ")):
        Settings.from_env({variable: text})


def test_misspelled_variable_is_rejected_with_all_settings() -> None:
    message = r"^IMAGES_CATALOGUE is not a setting; the settings are IMAGES_CATALOG, IMAGES_COMPUTE_URL,"
    with pytest.raises(InvalidSetting, match=message):
        Settings.from_env({"IMAGES_CATALOGUE": "x"})


@pytest.mark.parametrize(
    "name",
    [
        *("IMAGES_SERVICE_HOST", "IMAGES_SERVICE_PORT", "IMAGES_SERVICE_PORT_HTTP", "IMAGES_PORT"),
        *("IMAGES_PORT_8774_TCP", "IMAGES_PORT_8774_TCP_ADDR", "IMAGES_V2_API_SERVICE_HOST", "IMAGES_V2_API_PORT"),
    ],
)
def test_variables_that_kubernetes_sets_for_a_service_are_ignored(name: str) -> None:
    assert Settings.from_env({name: "tcp://10.0.0.1:8774"}) == Settings()


@pytest.mark.parametrize("auth", ["token", "keystone"])
def test_all_origins_cannot_be_allowed_with_tokens(auth: str) -> None:
    environ = {"IMAGES_CORS_ORIGINS": "https://a.test,*"}
    assert Settings.from_env(environ).cors_origins == ("https://a.test", "*")
    with pytest.raises(InvalidSetting) as raised:
        Settings.from_env(environ | {"IMAGES_AUTH": auth})
    assert str(raised.value) == f"IMAGES_CORS_ORIGINS contains '*'; expected single origins with IMAGES_AUTH={auth}"


@pytest.mark.parametrize("auth", ["token", "keystone"])
def test_test_double_cannot_be_secured(auth: str) -> None:
    assert Settings.from_env({"IMAGES_TEST_DOUBLE": "on", "IMAGES_AUTH": "none"}).test_double == "on"
    with pytest.raises(InvalidSetting) as raised:
        Settings.from_env({"IMAGES_TEST_DOUBLE": "on", "IMAGES_AUTH": auth})
    reason = "because everyone can add tokens to a test double"
    assert str(raised.value) == f"IMAGES_TEST_DOUBLE is 'on'; expected 'off' with IMAGES_AUTH={auth}, {reason}"


def test_test_double_has_no_metrics() -> None:
    with pytest.raises(InvalidSetting) as raised:
        Settings.from_env({"IMAGES_TEST_DOUBLE": "on", "IMAGES_METRICS": "on"})
    assert str(raised.value) == "IMAGES_METRICS is 'on'; expected 'off' with IMAGES_TEST_DOUBLE=on"


def test_settings_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]
