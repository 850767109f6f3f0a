"""The contract is applied as Connexion would apply it, but for the differences that are listed here, and argued."""

import asyncio
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from datetime import datetime
from functools import cache
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

from app.contract.document import Contract
from app.errors import InvalidParameter, InvalidResponse
from app.framework.validators import validator_map

PATH = "/v2/{tenant_id}/images/detail"
OPERATION = "listImagesDetails"
CONTRACT = Contract.load(secured=False)
STATUSES = (200, 400, 405, 500, 503)

Json = Any


class Difference(NamedTuple):
    """What is judged otherwise than by Connexion, and why; and a value for each place where it is.

    Stricter: we refuse what Connexion takes. Else we take what it refuses.
    """

    why: str
    stricter: bool
    applies: Callable[[str, Any], bool]  # to a parameter's name and text, or to an answer's status and document
    examples: tuple[tuple[str, Any], ...]


# --- Both judges, called as Connexion calls them ---


class Judge(NamedTuple):
    """The classes that check a request and an answer, and what they raise where they refuse one."""

    parameters: Callable[..., Any]
    answer: Callable[..., Any]
    refusals: tuple[type[Exception], ...]

    def takes(self, text: str, name: str = "limit") -> bool:
        """Tell whether a parameter may have the value."""
        if name == "tenant_id":
            return self.takes_request(b"", tenant=text)
        return self.takes_request(f"{name}={quote(text, safe='')}".encode())

    def takes_request(self, query: bytes, tenant: str = "openstack") -> bool:
        """Tell whether a request may have the query and the tenant."""
        parser = operation().uri_parser_class(operation().parameters, operation().body_definition())
        validator = self.parameters(
            operation().parameters, uri_parser=parser, strict_validation=True, security_query_params=[]
        )
        with self.verdict() as taken:
            validator.validate({**scope(), "path_params": {"tenant_id": tenant}, "query_string": query})
        return taken == [True]

    def takes_answer(self, status: int, document: Json) -> bool:
        """Tell whether an answer with the status may be the document."""
        schema = operation().response_schema(str(status), "application/json")
        validator = self.answer(scope(), schema=schema, nullable=False, encoding="utf-8")
        with self.verdict() as taken:
            sent = asyncio.run(pass_through(validator, status, document))
            assert orjson.loads(sent) == document
        return taken == [True]

    @contextmanager
    def verdict(self) -> Iterator[list[bool]]:
        """Give a list that holds True in the end, unless what is tried was refused."""
        taken: list[bool] = []
        try:
            yield taken
        except self.refusals:
            return
        taken.append(True)


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
        "path_params": {},
        "query_string": b"",
        "headers": [],
        "state": {},
        "extensions": {ROUTING_CONTEXT: {"operation_id": OPERATION}},
    }


async def pass_through(validator: Any, status: int, document: Json) -> bytes:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    checked = validator.wrap_send(send)
    await checked({"type": "http.response.start", "status": status, "headers": []})
    await checked({"type": "http.response.body", "body": orjson.dumps(document), "document": document})
    return b"".join(message.get("body", b"") for message in sent)


OURS = Judge(
    validator_map(CONTRACT)["parameter"],
    validator_map(CONTRACT)["response"]["application/json"],
    (InvalidParameter, InvalidResponse),
)
THEIRS = Judge(
    ParameterValidator,
    JSONResponseBodyValidator,
    (BadRequestProblem, ExtraParameterProblem, NonConformingResponseBody),
)


def test_connexion_would_use_these_judges() -> None:
    assert VALIDATOR_MAP["parameter"] is ParameterValidator
    assert dict(VALIDATOR_MAP["response"].items())["*/*json"] is JSONResponseBodyValidator


# --- What a value is, by the standards, said once more and without the service ---

# RFC 3986, appendix A. An IP address in brackets is looked at apart.
_CHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_AUTHORITY = (
    r"(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?"
    r"(?:\[(?P<ip>[^\]\[]*)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
_TAIL = rf"(?:\?(?:{_CHAR}|[/?])*)?(?:\#(?:{_CHAR}|[/?])*)?"
_PATHS = rf"(?://{_AUTHORITY}(?:/{_CHAR}*)*|/(?:{_CHAR}+(?:/{_CHAR}*)*)?|START(?:/{_CHAR}*)*|)"
_URI = re.compile("[A-Za-z][A-Za-z0-9+.-]*:" + _PATHS.replace("START", f"{_CHAR}+") + _TAIL)
_RELATIVE = re.compile(_PATHS.replace("START", f"(?:(?!:){_CHAR})+") + _TAIL)
_IP_FUTURE = re.compile(r"[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-5][0-9])"
)


def is_uri(text: str, *grammars: re.Pattern[str]) -> bool:
    """Tell whether RFC 3986 has the text."""
    matches = [match for match in (each.fullmatch(text) for each in grammars or (_URI,)) if match]
    return any(match["ip"] is None or is_ip(match["ip"]) for match in matches)


def is_ip(text: str) -> bool:
    if _IP_FUTURE.fullmatch(text):
        return True
    try:
        return bool(ipaddress.IPv6Address(text)) or True
    except ValueError:
        return False


def is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def is_in_the_calendar(text: str) -> bool:
    """Tell whether a time that is an RFC 3339 one can be had in UTC, in the years 1 to 9999."""
    try:
        time = datetime.fromisoformat(re.sub(r"\.[0-9]+", "", text.upper()))
        time.utctimetuple()
        return time.utcoffset() is not None and 1 <= (time - time.utcoffset()).year <= 9999  # type: ignore[operator]
    except (ValueError, OverflowError):
        return False


# --- The differences: parameters ---


def is_lenient_number(name: str, text: str) -> bool:
    try:
        return name == "limit" and not re.fullmatch("[0-9]{1,1000}", text) and int(text) >= 0
    except ValueError:
        return False


PARAMETERS = (
    Difference(
        "A number is written in digits, as JSON and every other client has it. Python's int() also takes a sign, "
        "spaces, underscores, the digits of all scripts, and as many as it likes",
        stricter=True,
        applies=is_lenient_number,
        examples=tuple(
            ("limit", each) for each in ("+3", " 3", "3\n", "1_0", "-0", "\N{ARABIC-INDIC DIGIT THREE}", "0" * 1001)
        ),
    ),
    Difference(
        "Connexion checks no uri-reference: the package that would is missing, and it takes anything",
        stricter=True,
        applies=lambda name, text: name == "server" and not is_uri(text, _URI, _RELATIVE),
        examples=(("server", "a b"), ("server", "%zz"), ("server", "http://[::x]/"), ("server", "\N{SNOWMAN}")),
    ),
    Difference(
        "A newline at the end is none of a value. In Python's patterns, `$` stands before it too",
        stricter=True,
        applies=lambda name, text: name in {"tenant_id", "changes-since"} and text.endswith("\n"),
        examples=(("tenant_id", "openstack\n"), ("changes-since", "2011-01-24T17:08:00Z\n")),
    ),
    Difference(
        "A time that has no year from 1 to 9999 in UTC can be compared with none",
        stricter=True,
        applies=lambda name, text: (
            name == "changes-since" and bool(_RFC_3339.fullmatch(text)) and not is_in_the_calendar(text)
        ),
        examples=(("changes-since", "0001-01-01T00:00:00+00:01"), ("changes-since", "9999-12-31T23:59:59-00:01")),
    ),
)

QUERIES = (
    Difference(
        "Of a parameter that comes twice one is wrong; Connexion takes the last without a word",
        stricter=True,
        applies=lambda _, query: has_repeated(query),
        examples=(("query", b"name=a&name=a"), ("query", b"limit=x&limit=1"), ("query", b"name=a&nam%65=b")),
    ),
    Difference(
        "What is no UTF-8, percent-encoded, is no text; Connexion puts other characters in its place",
        stricter=True,
        applies=lambda _, query: not is_utf_8(query),
        examples=(("query", b"name=%ff"), ("query", b"name=\xc3\xa9"), ("query", b"name=%ED%A0%80")),
    ),
)


def has_repeated(query: bytes) -> bool:
    names = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]
    return len(set(names)) < len(names)


def is_utf_8(query: bytes) -> bool:
    try:
        parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


# --- The differences: answers ---


def values(document: Json, name: str | None = None) -> Iterator[tuple[str | None, Json]]:
    """Give every value of a document, with the name that it stands under."""
    yield name, document
    if isinstance(document, dict):
        for key, each in document.items():
            yield from values(each, key)
    elif isinstance(document, list):
        for each in document:
            yield from values(each)


def some(test: Callable[[str | None, Json], bool]) -> Callable[[str, Json], bool]:
    """Make of a test of one value one that is met by a document with such a value."""
    return lambda _, document: any(test(name, value) for name, value in values(document))


def sample(**fields: Json) -> tuple[str, Json]:
    """Give an answer of one image, some fields of it as they are given."""
    document = deepcopy(CONTRACT.document["components"]["examples"]["documented"]["value"])
    document["images"] = [document["images"][0] | fields]
    return "200", document


def linked(href: str) -> tuple[str, Json]:
    status, document = sample()
    document["images"][0]["links"][0]["href"] = href
    return status, document


ANSWERS = (
    Difference(
        "A status that the contract does not declare is a mistake of ours; Connexion then checks nothing",
        stricter=True,
        applies=lambda status, _: int(status) not in STATUSES,
        examples=(("418", {}), ("201", None)),
    ),
    Difference(
        "Connexion checks no uuid: draft 4 of JSON Schema has none, and it takes anything",
        stricter=True,
        applies=some(lambda name, value: name == "id" and isinstance(value, str) and not is_uuid(value)),
        examples=(sample(id="a-b"), sample(id="70a599e031e749b7b260868f441e862b")),
    ),
    Difference(
        "Connexion checks no uri: the package that would is missing, and it takes anything",
        stricter=True,
        applies=some(lambda name, value: name == "href" and isinstance(value, str) and not is_uri(value)),
        examples=(linked(""), linked("/v2"), linked("http://a b/"), linked("http://[::x]/")),
    ),
    Difference(
        "A newline at the end is none of a value. In Python's patterns, `$` stands before it too",
        stricter=True,
        applies=some(lambda name, value: name in {"id", "created", "updated"} and str(value).endswith("\n")),
        examples=(
            sample(created="2011-01-01T01:02:03Z\n"),
            sample(updated="2011-01-01T01:02:03Z\n"),
            sample(id="70a599e0-31e7-49b7-b260-868f441e862b\n"),
        ),
    ),
    Difference(
        "1.0 is a whole number since draft 6 of JSON Schema; in draft 4, which Connexion uses, it is none",
        stricter=False,
        applies=some(lambda _, value: isinstance(value, float) and value.is_integer()),
        examples=(sample(progress=100.0), sample(minDisk=0.0), ("405", {"badMethod": {"code": 4e2, "message": ""}})),
    ),
)


def listed(differences: tuple[Difference, ...]) -> list[Any]:
    return [pytest.param(each, value, id=repr(value[1])[:40]) for each in differences for value in each.examples]


@pytest.mark.parametrize(("difference", "example"), listed(PARAMETERS))
def test_a_listed_difference_occurs_in_a_parameter(difference: Difference, example: tuple[str, str]) -> None:
    name, text = example
    assert (OURS.takes(text, name), THEIRS.takes(text, name)) == (not difference.stricter, difference.stricter)
    assert [each for each in PARAMETERS if each.applies(name, text)] == [difference]


@pytest.mark.parametrize(("difference", "example"), listed(QUERIES))
def test_a_listed_difference_occurs_in_a_query(difference: Difference, example: tuple[str, bytes]) -> None:
    _, query = example
    assert (OURS.takes_request(query), THEIRS.takes_request(query)) == (False, True)
    assert [each for each in QUERIES if each.applies("query", query)] == [difference]


@pytest.mark.parametrize(("difference", "example"), listed(ANSWERS))
def test_a_listed_difference_occurs_in_an_answer(difference: Difference, example: tuple[str, Json]) -> None:
    status, document = example
    verdicts = (OURS.takes_answer(int(status), document), THEIRS.takes_answer(int(status), document))
    assert verdicts == (not difference.stricter, difference.stricter)
    assert difference.applies(status, document)


# --- All the rest is judged alike ---


def drawing(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True)


def allowed(differences: tuple[Difference, ...], where: str, what: Any, *, stricter: bool) -> bool:
    return any(each.applies(where, what) for each in differences if each.stricter is stricter)


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
URI_TEXT = st.text("abc:/?#[]@%20!$&'()*+,;=~ .-_\\^`{}|<>\"1f", max_size=16)
TIMES = st.tuples(
    st.datetimes().map(lambda time: time.isoformat()),
    st.sampled_from(["Z", "z", "+00:00", "-00:00", "+14:00", "-23:59", "+24:00", "+01:60", "", " 01:00", "+0100"]),
).map("".join)
TENANTS = st.uuids().flatmap(
    lambda each: st.sampled_from([str(each), each.hex, str(each).upper(), str(each)[:-1], f"{each}0", f"{{{each}}}"])
)
CLOSE: Mapping[str, st.SearchStrategy[str]] = {
    "tenant_id": TENANTS | st.sampled_from(["openstack", "Openstack"]),
    "changes-since": TIMES | st.sampled_from(["2011-01-24T17:08:60Z", "0000-01-01T00:00:00Z", "2011-02-29T00:00:00Z"]),
    "server": URI_TEXT | st.sampled_from(["http://a.test:80/v2/x?y#z", "//[::1]:80/", "//[v1.a]/", "urn:a:b", ":a"]),
    "name": st.sampled_from(["fakeimage7", "a\x00b", "\x00", "null", "None"]),
    "status": st.sampled_from(["ACTIVE", "SAVING", "DELETED", "ERROR", "UNKNOWN", "null"]),
    "type": st.sampled_from(["BASE", "SERVER", "ALL", "snapshot", "backup", "Backup"]),
    "limit": st.integers(-2, 2**31 + 1).map(str) | st.sampled_from(["2147483647", "2147483648", "1.0", "1e3", "0x1"]),
    "marker": st.uuids().map(str) | st.sampled_from(["a\x00"]),
}


@st.composite
def texts(draw: st.DrawFn, name: str) -> str:
    """Draw a value that a parameter may have, one that is close to it, or any text."""
    text = draw(CLOSE[name] | TEXT if name != "limit" else CLOSE[name] | st.text("0123456789+- _.\n٣", max_size=5))
    at = draw(st.integers(0, len(text)))
    match draw(st.sampled_from(["as it is"] * 4 + ["lower", "upper", "insert", "cut", "newline"])):
        case "lower":
            return text.lower()
        case "upper":
            return text.upper()
        case "insert":
            return text[:at] + draw(st.sampled_from(" \n\x00%+_-:/é0aZ")) + text[at:]
        case "cut":
            return text[:at] + text[at + 1 :]
        case "newline":
            return f"{text}\n"
    return text


@pytest.mark.parametrize("name", CLOSE)
def test_every_value_of_a_parameter_has_connexions_verdict(name: str) -> None:
    @given(texts(name))
    @drawing(250)
    def check(text: str) -> None:
        expected = THEIRS.takes(text, name) and not allowed(PARAMETERS, name, text, stricter=True)
        assert OURS.takes(text, name) is expected

    check()


NAMES = st.sampled_from([*CLOSE][1:]) | st.sampled_from(["Name", "name[a]", "x", "", "tenant_id", "changes_since"])
PAIRS = NAMES.flatmap(lambda name: st.tuples(st.just(name), texts(name) if name in CLOSE else TEXT))
WRITTEN = st.tuples(PAIRS, st.sampled_from(["{}={}"] * 6 + ["{}={}%ff", "{0}", "&{}={}", "%6E{}={}", ";{}={}"])).map(
    lambda drawn: drawn[1].format(*(quote(each, safe="") for each in drawn[0])).encode()
)


@given(st.lists(WRITTEN | st.binary(max_size=3), max_size=4).map(b"&".join))
@drawing(400)
def test_every_query_has_connexions_verdict(query: bytes) -> None:
    ours, theirs = OURS.takes_request(query), THEIRS.takes_request(query)
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    stricter = [allowed(PARAMETERS, name, text, stricter=True) for name, text in pairs]
    assert ours is (theirs and not any(stricter) and not allowed(QUERIES, "query", query, stricter=True))


def conforming(schema: Json) -> st.SearchStrategy[Json]:
    """Draw what a schema of the contract takes."""
    kinds: dict[str, Callable[[Json], st.SearchStrategy[Json]]] = {
        "object": objects,
        "array": lambda each: st.lists(
            conforming(each["items"]), min_size=each.get("minItems", 0), max_size=each.get("maxItems", 2)
        ),
        "integer": lambda each: st.integers(each.get("minimum", -5), each.get("maximum", 999)),
        "string": strings,
    }
    drawn = st.sampled_from(schema["enum"]) if "enum" in schema else kinds[schema["type"]](schema)
    return st.none() | drawn if schema.get("nullable") else drawn


def objects(schema: Json) -> st.SearchStrategy[Json]:
    properties = schema.get("properties", {})
    drawn = {name: conforming(each) for name, each in properties.items()}
    required = {name: drawn.pop(name) for name in schema.get("required", [])}
    if isinstance(schema.get("additionalProperties"), dict):
        return st.dictionaries(TEXT, conforming(schema["additionalProperties"]), max_size=2)
    return st.fixed_dictionaries(required, optional=drawn)


def strings(schema: Json) -> st.SearchStrategy[str]:
    formats = {
        "uuid": st.uuids().map(str),
        "uri": st.sampled_from(["http://a.test/v2/x", "https://[::1]:8774/x?y=%20#z", "urn:a"]),
        "date-time": st.datetimes().map(lambda time: f"{time.isoformat()[:19]}Z"),
    }
    plain = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5)
    return formats.get(schema.get("format", ""), plain).filter(lambda text: len(text) >= schema.get("minLength", 0))


ODD: st.SearchStrategy[Json] = st.sampled_from(
    [None, True, -1, 0, 0.0, 100.0, 0.5, 101, 2**31, 2**53, 1e300, "", "\x00", "x", "é", [], {}, [{}]]
)
ODD_TEXTS = st.sampled_from(
    [
        *("2011-01-01T01:02:60Z", "0000-01-01T00:00:00Z", "2011-02-29T00:00:00Z", "2011-01-01t00:00:00z"),
        *("2011-01-01T24:00:00Z", "2011-01-01T00:00:00.0Z", "2011-01-01T00:00:00+00:00", "2011-13-01T00:00:00Z"),
        *(
            "//a.test/",
            "http://a b/",
            "http://[::1",
            "http://a.test/%zz",
            "a",
            "1:a",
            "active",
            "ACTIVE",
            "self",
            "next",
        ),
    ]
)


def spellings(value: Json) -> st.SearchStrategy[Json]:
    """Draw what is close to a value."""
    if isinstance(value, str):
        return st.sampled_from([f"{value}\n", f" {value}", value.upper(), value[:-1], f"{value}\x00"])
    if isinstance(value, int):
        return st.sampled_from([value + 0.0, value + 0.5, str(value)])
    if isinstance(value, dict):
        return ODD.map(lambda each: value | {"added": each})
    if isinstance(value, list):
        return ODD.map(lambda each: [*value, each]) | st.just(value * 2)
    return ODD


@st.composite
def mutated(draw: st.DrawFn, document: Json) -> Json:
    """Draw a document that differs in one place from the one that is given."""
    at = draw(st.sampled_from([(), *places(document)]))
    if not at:
        return draw(spellings(document) | ODD)
    parent = whole = deepcopy(document)
    for step in at[:-1]:
        parent = parent[step]
    if draw(st.integers(0, 4)) == 0:
        del parent[at[-1]]
    else:
        parent[at[-1]] = draw(ODD | ODD_TEXTS | spellings(parent[at[-1]]) | spellings(parent[at[-1]]))
    return whole


def places(document: Json, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if not isinstance(document, dict | list):
        return
    for step, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield (*at, step)
        yield from places(value, (*at, step))


@cache
def answers(status: int) -> st.SearchStrategy[Json]:
    """Draw what the contract lets be answered with a status."""
    return conforming(operation().response_definition(str(status))["content"]["application/json"]["schema"])


STATUS = st.sampled_from([*(200,) * 10, *STATUSES])


@given(STATUS.flatmap(lambda status: st.tuples(st.just(status), answers(status))))
@drawing(60)
def test_every_answer_that_is_as_the_contract_says_is_taken_by_both(drawn: tuple[int, Json]) -> None:
    status, document = drawn
    assert THEIRS.takes_answer(status, document)
    assert OURS.takes_answer(status, document)


CHANGED = STATUS.flatmap(lambda status: st.tuples(st.just(status), answers(status).flatmap(mutated)))


@given(CHANGED, st.sampled_from([None] * 9 + [418]))
@drawing(700)
def test_every_answer_has_connexions_verdict(drawn: tuple[int, Json], other: int | None) -> None:
    status, document = other or drawn[0], drawn[1]
    ours, theirs = OURS.takes_answer(status, document), THEIRS.takes_answer(status, document)
    if ours is not theirs:
        assert allowed(ANSWERS, str(status), document, stricter=theirs)
