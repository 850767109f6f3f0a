"""All settings, read once from the environment, validated and immutable."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple
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


class _Parser(NamedTuple):
    """Converts the text of a variable."""

    expected: str  # describes which text is valid
    parse: Callable[[str], Any]  # raises ValueError for other text


def _text(expected: str, is_valid: Callable[[str], bool]) -> _Parser:
    """Return the parser of text that is used as it is."""

    def parse(text: str) -> str:
        if not is_valid(text):
            raise ValueError(text)
        return text

    return _Parser(expected, parse)


def _choice(*choices: str) -> _Parser:
    return _text(f"{', '.join(choices[:-1])} or {choices[-1]}", choices.__contains__)


def _integer(minimum: int, maximum: int) -> _Parser:
    """Return the parser of an integer in a range, bounds included."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,10}", text) or not minimum <= int(text) <= maximum:
            raise ValueError(text)
        return int(text)

    return _Parser(f"a whole number from {minimum} to {maximum}", parse)


def _list(expected: str, parse_element: Callable[[str], str]) -> _Parser:
    """Return the parser of a list, in which `*` stands for everything."""

    def parse(text: str) -> tuple[str, ...]:
        elements = (each.strip() for each in text.split(","))
        return tuple(each if each == "*" else parse_element(each) for each in elements)

    return _Parser(f"comma-separated {expected}, or *", parse)


def _is_location(text: str) -> bool:
    """Return whether `open_catalog` takes the text as the location of a catalog."""
    is_url = "://" in text or _POSTGRESQL.match(text) or re.search(_KEYWORD, text)
    return not is_url or bool(_CATALOG_URL.fullmatch(text))


def _parse_host(host: str) -> str:
    """Return a host in the form in which hosts are compared."""
    name = host.removeprefix("*.")
    if re.search(":[0-9]+$", name):
        raise ValueError(host)
    return ("" if name == host else "*.") + host_name(name)


def _parse_origin(origin: str) -> str:
    """Return the origin of web pages in the form in which browsers send it."""
    if not is_base_url(origin) or urlsplit(origin).path.strip("/"):
        raise ValueError(origin)
    return origin_of(origin)


def _parse_base_url(url: str) -> str:
    """Return a URL that links can begin with, without its trailing slashes."""
    if not is_base_url(url):
        raise ValueError(url)
    return url.rstrip("/")


def is_base_url(text: str) -> bool:
    """Return whether the text is an http or https URL without user, query and fragment."""
    try:
        return (
            bool(_URL.fullmatch(text) and _URI.is_valid(text) and urlsplit(text).hostname) and urlsplit(text).port != 0
        )
    except ValueError:
        return False


_LOCATION = _text(
    "a path, sqlite:///path, or a connection URI of libpq, such as postgresql://USER@HOST/DATABASE", _is_location
)
_FILE_PATH = _text("the path of a file", lambda text: not text.endswith("/"))
_BASE_URL = _Parser("an http or https URL", _parse_base_url)
_HOSTS = _list("hosts without ports, such as images.example.com or *.example.com", _parse_host)
_ORIGINS = _list("origins, such as https://example.com", _parse_origin)


def _setting(variable: str, default: Any, parser: _Parser) -> Any:
    return field(default=default, metadata={"variable": variable, "parser": parser})


@dataclass(frozen=True)
class Settings:
    """The settings of the service. Each field has its environment variable and its parser as metadata."""

    catalog: str = _setting("IMAGES_CATALOG", "data/catalog.db", _LOCATION)
    compute_url: str | None = _setting("IMAGES_COMPUTE_URL", None, _BASE_URL)
    glance_url: str | None = _setting("IMAGES_GLANCE_URL", None, _BASE_URL)
    max_limit: int = _setting("IMAGES_MAX_LIMIT", 1000, _integer(1, 100_000))
    query_timeout: int = _setting("IMAGES_QUERY_TIMEOUT", 10, _integer(1, 3600))
    unknown_parameters: str = _setting("IMAGES_UNKNOWN_PARAMETERS", "reject", _choice("reject", "ignore"))
    auth: str = _setting("IMAGES_AUTH", "none", _choice("none", "token", "keystone"))
    token_cache_time: int = _setting("IMAGES_TOKEN_CACHE_TIME", 60, _integer(0, 3600))
    www_authenticate_uri: str | None = _setting("IMAGES_WWW_AUTHENTICATE_URI", None, _BASE_URL)
    allowed_hosts: tuple[str, ...] | None = _setting("IMAGES_ALLOWED_HOSTS", None, _HOSTS)
    cors_origins: tuple[str, ...] | None = _setting("IMAGES_CORS_ORIGINS", None, _ORIGINS)
    docs: str = _setting("IMAGES_DOCS", "on", _choice("on", "off"))
    stale_after: int = _setting("IMAGES_STALE_AFTER", 300, _integer(0, 31_536_000))
    stale_status: str = _setting("IMAGES_STALE_STATUS", "203", _choice("203", "200"))
    tombstone_days: int = _setting("IMAGES_TOMBSTONE_DAYS", 30, _integer(0, 36_500))
    access_log: str = _setting("IMAGES_ACCESS_LOG", "off", _choice("off", "on"))
    access_log_file: str | None = _setting("IMAGES_ACCESS_LOG_FILE", None, _FILE_PATH)
    log_level: str = _setting("IMAGES_LOG_LEVEL", "info", _choice("debug", "info", "warning", "error"))
    log_format: str = _setting("IMAGES_LOG_FORMAT", "plain", _choice("plain", "json"))
    metrics: str = _setting("IMAGES_METRICS", "off", _choice("off", "on"))
    response_cache_mb: int = _setting("IMAGES_RESPONSE_CACHE_MB", 32, _integer(0, 1_000_000))
    port: int = _setting("PORT", 8774, _integer(1, 65535))
    workers: int = _setting("WEB_CONCURRENCY", 2, _integer(1, 1024))
    test_double: str = _setting("IMAGES_TEST_DOUBLE", "off", _choice("off", "on"))

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
                each.name: _parse(variable, environ[variable], each.metadata["parser"])
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


def _parse(variable: str, text: str, parser: _Parser) -> Any:
    try:
        return parser.parse(text)
    except ValueError:
        shown = _CREDENTIALS.sub("…", text)
        raise InvalidSetting(f"{variable} is {shown!r}; expected {parser.expected}") from None
