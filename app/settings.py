"""All settings, read once from the environment, validated and immutable."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol
from urllib.parse import urlsplit

from app.contract.schemas import compile_schema
from app.origins import host_name, origin_of

_PREFIX = "IMAGES_"
# Kubernetes sets these for Services whose name is or begins with `images`.
_KUBERNETES = re.compile("IMAGES(_.+)?_(SERVICE_HOST|PORT(_.+)?)")
_URL = re.compile(r"https?://[A-Za-z0-9._~:\[\]-]+(?<!:)(/[^?#]*)?")
_URI = compile_schema({"type": "string", "format": "uri"})  # the format that the contract requires of links
_CATALOG_URL = re.compile("sqlite:///.+|postgres(ql)?://.*")
_POSTGRESQL = re.compile("postgres(ql)?:")
# The beginning of libpq's other form of a connection string, such as `host=… password=…`, which is not a URL.
_KEYWORD = r"(?:^|(?<=\s))(?:host|hostaddr|dbname|user|password|service)\s*="
# The parts of a URL or a connection string, even of an invalid one, that may contain a password.
_CREDENTIALS = re.compile(rf"{_KEYWORD}.*|(?<=:).*(?=@)|(?<=[?]).+", re.DOTALL)


class InvalidSetting(ValueError):
    """An environment variable is invalid, or is not a setting."""


class _Parser(Protocol):
    """Converts the text of a variable. Raises ValueError if it is not what `expected` describes."""

    expected: str

    def __call__(self, text: str) -> Any: ...


class _Location:
    """Accepts the location of a catalog, as `open_catalog` takes it."""

    expected = "a path, sqlite:///path, or a connection URI of libpq, such as postgresql://USER@HOST/DATABASE"

    def __call__(self, text: str) -> str:
        is_url = "://" in text or _POSTGRESQL.match(text) or re.search(_KEYWORD, text)
        if is_url and not _CATALOG_URL.fullmatch(text):
            raise ValueError(text)
        return text


class _FilePath:
    """Accepts the path of a file."""

    expected = "the path of a file"

    def __call__(self, text: str) -> str:
        if text.endswith("/"):
            raise ValueError(text)
        return text


class _BaseUrl:
    """Accepts a URL that links can begin with, and removes its trailing slashes."""

    expected = "an http or https URL"

    def __call__(self, text: str) -> str:
        if not is_base_url(text):
            raise ValueError(text)
        return text.rstrip("/")


class _Integer:
    """Accepts an integer in a range, bounds included."""

    def __init__(self, minimum: int, maximum: int) -> None:
        self.expected = f"a whole number from {minimum} to {maximum}"
        self._range = range(minimum, maximum + 1)

    def __call__(self, text: str) -> int:
        if not re.fullmatch("[0-9]{1,10}", text) or int(text) not in self._range:
            raise ValueError(text)
        return int(text)


class _Choice:
    """Accepts one of several words."""

    def __init__(self, *choices: str) -> None:
        self.expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
        self._choices = choices

    def __call__(self, text: str) -> str:
        if text not in self._choices:
            raise ValueError(text)
        return text


class _Hosts:
    """Accepts hosts, in the form in which they are compared."""

    expected = "comma-separated hosts without ports, such as images.example.com or *.example.com, or *"

    def __call__(self, text: str) -> tuple[str, ...]:
        return tuple(self._parse(each.strip()) for each in text.split(","))

    def _parse(self, host: str) -> str:
        if host == "*":
            return host
        name = host.removeprefix("*.")
        if re.search(":[0-9]+$", name):
            raise ValueError(host)
        return ("" if name == host else "*.") + host_name(name)


class _Origins:
    """Accepts origins of web pages, in the form in which browsers send them."""

    expected = "comma-separated origins, such as https://example.com, or *"

    def __call__(self, text: str) -> tuple[str, ...]:
        return tuple(self._parse(each.strip()) for each in text.split(","))

    def _parse(self, origin: str) -> str:
        if origin == "*":
            return origin
        if not is_base_url(origin) or urlsplit(origin).path.strip("/"):
            raise ValueError(origin)
        return origin_of(origin)


def is_base_url(text: str) -> bool:
    """Return whether the text is an http or https URL without user, query and fragment."""
    try:
        return (
            bool(_URL.fullmatch(text) and _URI.is_valid(text) and urlsplit(text).hostname) and urlsplit(text).port != 0
        )
    except ValueError:
        return False


def _setting(variable: str, default: Any, parse: _Parser) -> Any:
    return field(default=default, metadata={"variable": variable, "parse": parse})


@dataclass(frozen=True)
class Settings:
    """The settings of the service. Each field has its environment variable and its parser as metadata."""

    catalog: str = _setting("IMAGES_CATALOG", "data/catalog.db", _Location())
    compute_url: str | None = _setting("IMAGES_COMPUTE_URL", None, _BaseUrl())
    glance_url: str | None = _setting("IMAGES_GLANCE_URL", None, _BaseUrl())
    max_limit: int = _setting("IMAGES_MAX_LIMIT", 1000, _Integer(1, 100_000))
    query_timeout: int = _setting("IMAGES_QUERY_TIMEOUT", 10, _Integer(1, 3600))
    unknown_parameters: str = _setting("IMAGES_UNKNOWN_PARAMETERS", "reject", _Choice("reject", "ignore"))
    auth: str = _setting("IMAGES_AUTH", "none", _Choice("none", "token", "keystone"))
    token_cache_time: int = _setting("IMAGES_TOKEN_CACHE_TIME", 60, _Integer(0, 3600))
    www_authenticate_uri: str | None = _setting("IMAGES_WWW_AUTHENTICATE_URI", None, _BaseUrl())
    allowed_hosts: tuple[str, ...] | None = _setting("IMAGES_ALLOWED_HOSTS", None, _Hosts())
    cors_origins: tuple[str, ...] | None = _setting("IMAGES_CORS_ORIGINS", None, _Origins())
    docs: str = _setting("IMAGES_DOCS", "on", _Choice("on", "off"))
    stale_after: int = _setting("IMAGES_STALE_AFTER", 300, _Integer(0, 31_536_000))
    stale_status: str = _setting("IMAGES_STALE_STATUS", "203", _Choice("203", "200"))
    tombstone_days: int = _setting("IMAGES_TOMBSTONE_DAYS", 30, _Integer(0, 36_500))
    access_log: str = _setting("IMAGES_ACCESS_LOG", "off", _Choice("off", "on"))
    access_log_file: str | None = _setting("IMAGES_ACCESS_LOG_FILE", None, _FilePath())
    log_level: str = _setting("IMAGES_LOG_LEVEL", "info", _Choice("debug", "info", "warning", "error"))
    log_format: str = _setting("IMAGES_LOG_FORMAT", "plain", _Choice("plain", "json"))
    metrics: str = _setting("IMAGES_METRICS", "off", _Choice("off", "on"))
    response_cache_mb: int = _setting("IMAGES_RESPONSE_CACHE_MB", 32, _Integer(0, 1_000_000))
    port: int = _setting("PORT", 8774, _Integer(1, 65535))
    workers: int = _setting("WEB_CONCURRENCY", 2, _Integer(1, 1024))
    test_double: str = _setting("IMAGES_TEST_DOUBLE", "off", _Choice("off", "on"))

    @property
    def is_default_catalog(self) -> bool:
        """Whether the catalog is at the default location, where a missing one is created from the sample."""
        return self.catalog == Settings.catalog

    @property
    def logs_requests(self) -> bool:
        """Whether there is an access log."""
        return self.access_log == "on" or self.access_log_file is not None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables; an empty variable counts as unset.

        Raises InvalidSetting, with a message of one line, for an invalid value and for an IMAGES_ variable that is not
        a setting: a misspelled name must not be ignored.
        """
        variables = {each.metadata["variable"]: each for each in fields(cls)}
        for variable in environ:
            if variable.startswith(_PREFIX) and variable not in variables and not _KUBERNETES.fullmatch(variable):
                known = ", ".join(name for name in variables if name.startswith(_PREFIX))
                raise InvalidSetting(f"{variable} is not a setting; the settings are {known}")
        settings = cls(
            **{
                each.name: _parse(variable, environ[variable], each.metadata["parse"])
                for variable, each in variables.items()
                if environ.get(variable)
            }
        )
        if settings.auth != "none" and "*" in (settings.cors_origins or ()):
            raise InvalidSetting(
                f"IMAGES_CORS_ORIGINS contains '*'; expected single origins with IMAGES_AUTH={settings.auth}"
            )
        if settings.test_double == "on" and settings.auth != "none":
            raise InvalidSetting(
                f"IMAGES_TEST_DOUBLE is 'on'; expected 'off' with IMAGES_AUTH={settings.auth}, because everyone can "
                "add tokens to a test double"
            )
        if settings.test_double == "on" and settings.metrics == "on":
            raise InvalidSetting("IMAGES_METRICS is 'on'; expected 'off' with IMAGES_TEST_DOUBLE=on")
        return settings


def _parse(variable: str, text: str, parse: _Parser) -> Any:
    try:
        return parse(text)
    except ValueError:
        shown = _CREDENTIALS.sub("…", text)
        raise InvalidSetting(f"{variable} is {shown!r}; expected {parse.expected}") from None
