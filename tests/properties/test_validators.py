"""Requests and responses are validated as by Connexion's own validators, except for the differences listed here."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from ipaddress import IPv6Address
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote
from uuid import UUID

import orjson
import pytest
from connexion.exceptions import BadRequestProblem, ExtraParameterProblem, NonConformingResponseBody
from connexion.middleware.abstract import ROUTING_CONTEXT
from connexion.operations import OpenAPIOperation
from connexion.resolver import Resolver
from connexion.spec import Specification
from connexion.validators import VALIDATOR_MAP
from connexion.validators.json import JSONResponseBodyValidator
from connexion.validators.parameter import ParameterValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message, Scope

from app.context import RequestContext
from app.errors import InvalidParameter, InvalidResponse
from app.framework.validators import validator_map
from tests.conftest import loaded
from tests.support.projects import SAMPLE_PROJECT

PATH = "/v2/{tenant_id}/images/detail"
CONTRACT = loaded()
QUERY = "query"  # in place of a parameter's name: the text is a complete query string
Json = Any


class Validators(NamedTuple):
    """The classes that validate parameters and responses, and the errors that they raise."""

    parameters: Callable[..., Any]
    response: Callable[..., Any]
    errors: tuple[type[Exception], ...]

    def accepts(self, name: str, text: str) -> bool:
        """Return whether a parameter may have a value."""
        query = text.encode("latin-1") if name == QUERY else f"{name}={quote(text, safe='')}".encode()
        is_path = name == "tenant_id"
        parser = operation().uri_parser_class(operation().parameters, operation().body_definition())
        validator = self.parameters(
            operation().parameters, uri_parser=parser, strict_validation=True, security_query_params=[]
        )
        path_params = {"tenant_id": text if is_path else SAMPLE_PROJECT}
        try:
            validator.validate({**scope(), "path_params": path_params, "query_string": b"" if is_path else query})
        except self.errors:
            return False
        return True

    def accepts_response(self, status: int, document: Json) -> bool:
        """Return whether a response with a status may have a document."""
        schema = operation().response_schema(str(status), "application/json")
        validator = self.response(scope(), schema=schema, nullable=False, encoding="utf-8")
        try:
            assert orjson.loads(asyncio.run(sent_through(validator, status, document))) == document
        except self.errors:
            return False
        return True


@cache
def operation() -> Any:
    """Build the operation as Connexion does."""
    spec = Specification.load(deepcopy(CONTRACT.document))
    return OpenAPIOperation.from_spec(
        spec, path=PATH, method="get", resolver=Resolver(lambda _: operation), uri_parser_class=None
    )


def scope() -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": PATH,
        "headers": [],
        "state": {"context": RequestContext("req-1")},
        "extensions": {ROUTING_CONTEXT: {"operation_id": "listImagesDetails"}},
    }


async def sent_through(validator: Any, status: int, document: Json) -> bytes:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    validating_send = validator.wrap_send(send)
    await validating_send({"type": "http.response.start", "status": status, "headers": []})
    await validating_send({"type": "http.response.body", "body": orjson.dumps(document), "document": document})
    return b"".join(message.get("body", b"") for message in sent)


OWN = Validators(
    validator_map(CONTRACT)["parameter"],
    validator_map(CONTRACT)["response"]["application/json"],
    (InvalidParameter, InvalidResponse),
)
CONNEXIONS = Validators(
    ParameterValidator,
    JSONResponseBodyValidator,
    (BadRequestProblem, ExtraParameterProblem, NonConformingResponseBody),
)


def test_connexion_uses_these_validators_by_default() -> None:
    assert VALIDATOR_MAP["parameter"] is ParameterValidator
    assert dict(VALIDATOR_MAP["response"].items())["*/*json"] is JSONResponseBodyValidator


# --- The formats, independent of the service's libraries ---

_CHAR = r"(?:[\w.~!$&'()*+,;=:@-]|%[0-9a-f]{2})"
_HOST = r"(?:\[(?:v[0-9a-f]+\.[\w.~!$&'()*+,;=:-]+|(?P<ip>[^]\[]*))\]|(?:[\w.~!$&'()*+,;=-]|%[0-9a-f]{2})*)"
_AUTHORITY = rf"(?:(?:(?!@){_CHAR})*@)?{_HOST}(?::[0-9]*)?"
_URI_REFERENCE = re.compile(  # RFC 3986, appendix A
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*):|(?![^/?#]*:))"
    rf"(?://{_AUTHORITY}(?:/{_CHAR}*)*|(?!//)(?:{_CHAR}|/)*)"
    rf"(?:\?(?:{_CHAR}|[/?])*)?(?:\#(?:{_CHAR}|[/?])*)?",
    re.ASCII | re.IGNORECASE,
)


def is_uri(text: str, *, is_reference: bool = False) -> bool:
    match = _URI_REFERENCE.fullmatch(text)
    if match is None or not (match["scheme"] or is_reference):
        return False
    return match["ip"] is None or can(IPv6Address, match["ip"])


_SHORT_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}(:?[0-5][0-9])?))?",
    re.IGNORECASE,
)
STATUSES = {"ACTIVE", "SAVING", "DELETED", "ERROR", "UNKNOWN"}


def is_digits(text: str) -> bool:
    return bool(re.fullmatch("[0-9]{1,1000}", text))


def is_in_calendar(text: str) -> bool:
    """Return whether a time is between the years 1 and 9999 in UTC."""
    return can(lambda time: datetime.fromisoformat(time).astimezone(UTC), text.upper())


def can(convert: Callable[[str], object], text: str) -> bool:
    try:
        convert(text)
    except (ValueError, OverflowError):
        return False
    return True


# --- The differences ---


class Difference(NamedTuple):
    """A reason why the service rejects what Connexion accepts, or vice versa, with examples."""

    why: str
    applies: Callable[[Any, Any], bool]  # to a name and a value: a parameter's, or a field's of a response
    examples: tuple[tuple[Any, Any], ...]
    is_stricter: bool = True


TRAILING_NEWLINE = "A trailing newline is part of the value; in Python's regular expressions, `$` matches before it"
PARAMETERS = (
    Difference(
        "A number consists of ASCII digits; int() also accepts signs, spaces, underscores and digits of any script",
        lambda name, text: name in {"limit", "minRam", "minDisk"} and can(int, text) and not is_digits(text),
        tuple(("limit", each) for each in ("+3", " 3", "3\n", "1_0", "-0", "\N{ARABIC-INDIC DIGIT THREE}", "0" * 1001)),
    ),
    Difference(
        TRAILING_NEWLINE,
        lambda name, text: name in {"tenant_id", "changes-since"} and text.endswith("\n"),
        (("tenant_id", "openstack\n"), ("changes-since", "2011-01-24T17:08:00Z\n")),
    ),
    Difference(
        "A time outside the years 1 to 9999 in UTC cannot be compared",
        lambda name, text: name == "changes-since" and not is_in_calendar(text),
        (("changes-since", "0001-01-01T00:00:00+00:01"), ("changes-since", "9999-12-31T23:59:59-00:01")),
    ),
    Difference(
        "A parameter has only one value; Connexion uses the last",
        lambda name, text: name == QUERY and len(dict(pairs := parse(text))) < len(set(pairs)),
        tuple((QUERY, each) for each in ("name=a&name=", "limit=x&limit=1", "name=a&nam%65=b")),
    ),
    Difference(
        "A query is percent-encoded UTF-8; Connexion replaces other bytes",
        lambda name, text: name == QUERY and not (text.isascii() and can(lambda _: parse(text, "strict"), text)),
        tuple((QUERY, each) for each in ("name=%ff", "name=\xc3\xa9", "name=%ED%A0%80")),
    ),
    Difference(
        "A status may be in lower case, as in Nova",
        lambda name, text: name == "status" and text.isascii() and text.upper() in STATUSES,
        tuple(("status", each) for each in ("active", "Error")),
        is_stricter=False,
    ),
    Difference(
        "A time may be shorter than in RFC 3339",
        lambda name, text: name == "changes-since" and bool(_SHORT_TIME.fullmatch(text)) and is_in_calendar(text),
        tuple(("changes-since", each) for each in ("2011-01-24", "2011-01-24T17:08Z", "2011-01-24T17:08:00-0600")),
        is_stricter=False,
    ),
)
RESPONSES = (
    Difference(
        "Connexion does not check the format uuid",
        lambda name, value: name == "id" and isinstance(value, str) and not (can(UUID, value) and len(value) == 36),
        (("id", "a-b"), ("id", "70a599e031e749b7b260868f441e862b")),
    ),
    Difference(
        "Connexion does not check the format uri",
        lambda name, value: name == "href" and isinstance(value, str) and not is_uri(value),
        tuple(("href", each) for each in ("", "/v2", "http://a b/", "http://[::x]/")),
    ),
    Difference(
        TRAILING_NEWLINE,
        lambda name, value: name in {"id", "created", "updated"} and str(value).endswith("\n"),
        (
            *((name, "2011-01-01T01:02:03Z\n") for name in ("created", "updated")),
            ("id", "70a599e0-31e7-49b7-b260-868f441e862b\n"),
        ),
    ),
    Difference(
        "1.0 is an integer since draft 6 of JSON Schema; Connexion uses draft 4",
        lambda _, value: isinstance(value, float) and value.is_integer(),
        (("progress", 100.0), ("minDisk", 0.0)),
        is_stricter=False,
    ),
)


def parse(query: str, errors: str = "replace") -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True, errors=errors)


def examples(differences: tuple[Difference, ...]) -> list[Any]:
    return [pytest.param(each, *example, id=repr(example)[:40]) for each in differences for example in each.examples]


@pytest.mark.parametrize(("difference", "name", "text"), examples(PARAMETERS))
def test_listed_difference_occurs_in_a_parameter(difference: Difference, name: str, text: str) -> None:
    assert difference.applies(name, text)
    accepted = OWN.accepts(name, text), CONNEXIONS.accepts(name, text)
    assert accepted == (not difference.is_stricter, difference.is_stricter)


@pytest.mark.parametrize(("difference", "name", "value"), examples(RESPONSES))
def test_listed_difference_occurs_in_a_response(difference: Difference, name: str, value: Json) -> None:
    document = deepcopy(DOCUMENTS[200][0])
    (document["images"][0]["links"][0] if name == "href" else document["images"][0])[name] = value
    assert difference.applies(name, value)
    accepted = OWN.accepts_response(200, document), CONNEXIONS.accepts_response(200, document)
    assert accepted == (not difference.is_stricter, difference.is_stricter)


def test_undeclared_status_is_rejected_only_by_the_service() -> None:
    assert (OWN.accepts_response(418, {}), CONNEXIONS.accepts_response(418, {})) == (False, True)


# --- Parameters ---


def drawing(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True)


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
TIMES = st.tuples(
    st.datetimes().map(lambda time: time.isoformat()),
    st.sampled_from(
        ["Z", "z", "+00:00", "-00:00", "+14:00", "-23:59", "+24:00", "+01:60", "", " 01:00", "+0100", "-06"]
    ),
).map("".join)
PROJECT_IDS = st.uuids().flatmap(
    lambda each: st.sampled_from([str(each), each.hex, str(each).upper(), str(each)[:-1], f"{each}0", f"{{{each}}}"])
)
NUMBERS = (
    st.integers(-2, 2**31 + 1).map(str)
    | st.sampled_from(["2147483647", "2147483648", "1.0", "1e3", "0x1"])
    | st.text("0123456789+- _.\n٣", max_size=5)
)
VALUES: Mapping[str, st.SearchStrategy[str]] = {
    "tenant_id": PROJECT_IDS | st.sampled_from(["openstack", ".", "..", "x" * 64, "a/b", "a?b", "\x9f", "\ufffd"]),
    "changes-since": TIMES | st.sampled_from(["2011-01-24T17:08:60Z", "0000-01-01T00:00:00Z", "2011-02-29T00:00:00Z"]),
    "server": st.text("abc:/?#[]@%20!$&'()*+,;=~ .-_\\^`{}|<>\"1f", max_size=16)
    | st.sampled_from(["http://a.test:80/v2/x?y#z", "//[::1]:80/", "//[v1.a]/", "urn:a:b", ":a"]),
    "name": st.sampled_from(["fakeimage7", "a\x00b", "\x00", "null", "None"]),
    "status": st.sampled_from([*sorted(STATUSES), "null", "unKnown", "un\N{KELVIN SIGN}nown"]),
    "type": st.sampled_from(["BASE", "SERVER", "ALL", "snapshot", "backup", "Backup"]),
    **dict.fromkeys(("minRam", "minDisk", "limit"), NUMBERS),
    "marker": st.uuids().map(str) | st.sampled_from(["a\x00"]),
}


@st.composite
def values(draw: st.DrawFn, name: str) -> str:
    """Draw a value of a parameter, often a valid one, and in half of the cases change it."""
    text = draw(VALUES[name] | TEXT)
    at = draw(st.integers(0, len(text)))
    inserted = draw(st.sampled_from(" \n\x00%+_-:/é0aZ"))
    changed = [text.lower(), text.upper(), text[:at] + inserted + text[at:], text[:at] + text[at + 1 :], f"{text}\n"]
    return draw(st.just(text) | st.sampled_from(changed))


def check_parameter(name: str, text: str) -> None:
    pairs = [(name, text), *(parse(text) if name == QUERY else ())]
    differences = [each for each in PARAMETERS for pair in pairs if each.applies(*pair)]
    is_stricter, is_lenient = (any(each.is_stricter is value for each in differences) for value in (True, False))
    if is_lenient and name == QUERY:  # its other parameters may be valid or not
        return
    assert OWN.accepts(name, text) is (is_lenient or (CONNEXIONS.accepts(name, text) and not is_stricter))


@pytest.mark.parametrize("name", VALUES)
def test_parameters_are_validated_as_by_connexion(name: str) -> None:
    assert VALUES.keys() == {*CONTRACT.operations["listImagesDetails"].query, "tenant_id"}
    given(values(name))(drawing(250)(lambda text: check_parameter(name, text)))()


NAMES = st.sampled_from([*VALUES, "Name", "name[a]", "x", "", "changes_since"])
PAIRS = NAMES.flatmap(lambda name: st.tuples(st.just(name), values(name) if name in VALUES else TEXT))
PARTS = st.tuples(PAIRS, st.sampled_from(["{}={}"] * 6 + ["{}={}%ff", "{0}", "&{}={}", "%6E{}={}", ";{}={}"])).map(
    lambda drawn: drawn[1].format(*(quote(each, safe="") for each in drawn[0]))
)


@given(st.lists(PARTS | st.binary(max_size=3).map(lambda each: each.decode("latin-1")), max_size=4).map("&".join))
@drawing(400)
def test_queries_are_validated_as_by_connexion(query: str) -> None:
    check_parameter(QUERY, query)


# --- Responses ---


@cache
def example_documents(status: int) -> list[Json]:
    """Return the contract's examples of responses with a status."""
    content = operation().response_definition(str(status))["content"]["application/json"]
    return [each["value"] for each in content.get("examples", {"": {"value": content.get("example")}}).values()]


def full_document() -> Json:
    """Return a list of one image that has every field."""
    document = deepcopy(example_documents(200)[0])
    links = [{"rel": "self", "href": "https://[::1]:8774/x?y=%20#z"}, {"rel": "bookmark", "href": "urn:a"}]
    more = {"OS-EXT-IMG-SIZE:size": 1, "server": {"id": "s", "links": links}, "metadata": {"a": None, "b": "c"}}
    return {"images": [document["images"][0] | more], "images_links": [{"rel": "next", "href": links[0]["href"]}]}


DOCUMENTS = {status: example_documents(status) for status in (203, 400, 405, 500, 503)} | {200: [full_document()]}
ODD_VALUES: list[Json] = [
    *(None, True, -1, 0, 0.0, 100.0, 0.5, 101, 2**31, 2**53, 1e300, "", "\x00", "x", "é", [], {}, [{}]),
    *("2011-01-01T01:02:60Z", "0000-01-01T00:00:00Z", "2011-02-29T00:00:00Z", "2011-01-01t00:00:00z"),
    *("2011-01-01T24:00:00Z", "2011-01-01T00:00:00.0Z", "2011-01-01T00:00:00+00:00", "2011-13-01T00:00:00Z"),
    *("//a.test/", "http://a b/", "http://[::1", "http://a.test/%zz", "a", "1:a", "active", "ACTIVE", "self", "next"),
]


def fields(document: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Json]]:
    """Yield the path and the value of each field of a document, and of the document itself."""
    yield path, document
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from fields(value, (*path, key))


def similar(value: Json) -> list[Json]:
    match value:
        case str():
            return [f"{value}\n", f" {value}", value.upper(), value[:-1], f"{value}\x00"]
        case int():
            return [value + 0.0, value + 0.5, str(value)]
        case dict():
            return [value | {"added": "x"}, value | {"added": None}, value | {"added": 1}]
        case list():
            return [[*value, "x"], value * 2, value[:-1]]
    return []


@st.composite
def responses(draw: st.DrawFn) -> tuple[int, Json]:
    """Draw a status and a document in which one field is deleted or has another value."""
    status = draw(st.sampled_from([*(200,) * 10, *DOCUMENTS]))
    document = deepcopy(draw(st.sampled_from(DOCUMENTS[status])))
    path, value = draw(st.sampled_from(list(fields(document))))
    other = draw(st.sampled_from(ODD_VALUES) | st.sampled_from(similar(value) or [None]))
    if not path:
        return status, other
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if draw(st.integers(0, 4)) == 0:
        del parent[path[-1]]
    else:
        parent[path[-1]] = other
    return status, document


@pytest.mark.parametrize("status", DOCUMENTS)
def test_examples_of_responses_are_accepted(status: int) -> None:
    for document in DOCUMENTS[status]:
        assert CONNEXIONS.accepts_response(status, document)
        assert OWN.accepts_response(status, document)


@given(responses())
@drawing(700)
def test_responses_are_validated_as_by_connexion(drawn: tuple[int, Json]) -> None:
    status, document = drawn
    own, connexions = OWN.accepts_response(status, document), CONNEXIONS.accepts_response(status, document)
    if own is not connexions:
        named = [(path[-1] if path else None, value) for path, value in fields(document)]
        assert any(each.applies(*pair) for each in RESPONSES if each.is_stricter is connexions for pair in named)
