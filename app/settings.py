"""Every setting of the service: read once from the environment, checked, and frozen."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.contract.schemas import compile_schema

_PREFIX = "IMAGES_"
_URL = re.compile(r"https?://[A-Za-z0-9._~:\[\]-]+(/[^?#]*)?")
_URI = compile_schema({"type": "string", "format": "uri"})  # what the contract says of links


class InvalidSetting(ValueError):
    """A variable of the environment is not what a setting takes."""


def _path(text: str) -> Path:
    return Path(text)


def is_base_url(text: str) -> bool:
    """Tell whether other URLs can begin with this one: http or https, without a user, a query or a fragment."""
    try:
        return (
            bool(_URL.fullmatch(text) and _URI.is_valid(text) and urlsplit(text).hostname) and urlsplit(text).port != 0
        )
    except ValueError:
        return False


def _url(text: str) -> str:
    if not is_base_url(text):
        raise ValueError(text)
    return text.rstrip("/")


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,10}", text) or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return parse


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return parse


def _setting(variable: str, default: Any, parse: Callable[[str], Any], expected: str) -> Any:
    return field(default=default, metadata={"variable": variable, "parse": parse, "expected": expected})


@dataclass(frozen=True)
class Settings:
    """The settings of the service. Each knows its variable, how it is read, and what it takes."""

    catalog: Path = _setting("IMAGES_CATALOG", Path("data/catalog.db"), _path, "the path of a file")
    compute_url: str | None = _setting("IMAGES_COMPUTE_URL", None, _url, "an http or https URL")
    glance_url: str | None = _setting("IMAGES_GLANCE_URL", None, _url, "an http or https URL")
    max_limit: int = _setting("IMAGES_MAX_LIMIT", 1000, _integer(1, 100_000), "a whole number from 1 to 100000")
    unknown_parameters: str = _setting(
        "IMAGES_UNKNOWN_PARAMETERS", "reject", _choice("reject", "ignore"), "reject or ignore"
    )
    auth: str = _setting("IMAGES_AUTH", "none", _choice("none", "token", "keystone"), "none, token or keystone")
    verdict_seconds: int = _setting("IMAGES_VERDICT_SECONDS", 60, _integer(0, 3600), "a whole number from 0 to 3600")
    keystone_url: str | None = _setting("IMAGES_KEYSTONE_URL", None, _url, "an http or https URL")
    docs: str = _setting("IMAGES_DOCS", "on", _choice("on", "off"), "on or off")
    stale_after: int = _setting("IMAGES_STALE_AFTER", 300, _integer(0, 31_536_000), "a whole number from 0 to 31536000")
    stale_status: str = _setting("IMAGES_STALE_STATUS", "203", _choice("203", "200"), "203 or 200")
    tombstone_days: int = _setting("IMAGES_TOMBSTONE_DAYS", 30, _integer(0, 36_500), "a whole number from 0 to 36500")
    access_log: str = _setting("IMAGES_ACCESS_LOG", "off", _choice("off", "plain", "json"), "off, plain or json")
    answers_mb: int = _setting("IMAGES_ANSWERS_MB", 64, _integer(0, 1_000_000), "a whole number from 0 to 1000000")
    port: int = _setting("PORT", 8774, _integer(1, 65535), "a whole number from 1 to 65535")
    workers: int = _setting("WEB_CONCURRENCY", 2, _integer(1, 1024), "a whole number from 1 to 1024")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from the environment; an empty variable counts as none.

        Raises BadSetting, in one line, for a value that a setting does not take, and for a variable that begins as
        settings do and is none: a misspelt one must not go unnoticed.
        """
        variables = {each.metadata["variable"]: each for each in fields(cls)}
        for variable in environ:
            if variable.startswith(_PREFIX) and variable not in variables:
                known = ", ".join(name for name in variables if name.startswith(_PREFIX))
                raise InvalidSetting(f"{variable} is no setting; settings are {known}")
        values = {}
        for variable, each in variables.items():
            text = environ.get(variable, "")
            if text:
                values[each.name] = _read(variable, text, each.metadata)
        return cls(**values)


def _read(variable: str, text: str, metadata: Mapping[str, Any]) -> Any:
    try:
        return metadata["parse"](text)
    except ValueError:
        raise InvalidSetting(f"{variable} is {text!r}; it takes {metadata['expected']}") from None
