"""Identifiers are compared exactly: lookalikes and Unicode variants do not match."""

import pytest

from tests.integration.server.attacks.conftest import EXAMPLE, OWNER
from tests.integration.server.conftest import LIST
from tests.integration.server.wire import Connection, percent_encoded, request
from tests.support.images import image_id

PRIVATE = {"openstack": image_id(2), OWNER: image_id(3)}
PUBLIC = [image_id(1), EXAMPLE]

DASHED = f"{OWNER[:8]}-{OWNER[8:12]}-{OWNER[12:16]}-{OWNER[16:20]}-{OWNER[20:]}"

FULLWIDTH = {ord(each): ord(each) + 0xFEE0 for each in "0123456789abcdefghijklmnopqrstuvwxyz"}
ARABIC = {ord("0") + digit: ord("\N{ARABIC-INDIC DIGIT ZERO}") + digit for digit in range(10)}

PROJECTS = {
    "the Kelvin sign": "openstac\N{KELVIN SIGN}",
    "a long s": "open\N{LATIN SMALL LETTER LONG S}tack",
    "a ligature": "open\N{LATIN SMALL LIGATURE ST}ack",
    "a Cyrillic letter": "\N{CYRILLIC SMALL LETTER O}penstack",
    "a small capital": "openstac\N{LATIN LETTER SMALL CAPITAL K}",
    "full-width letters": "openstack".translate(FULLWIDTH),
    "a soft hyphen": "open\N{SOFT HYPHEN}stack",
    "a space of no width": "openstack\N{ZERO WIDTH SPACE}",
    "a mark on the last letter": "openstack\N{COMBINING DOT BELOW}",
    "a byte order mark": "\N{ZERO WIDTH NO-BREAK SPACE}openstack",
    "capitals": "OPENSTACK",
    "a dash": "open-stack",
    "a dash at the end": "openstack-",
    "a space before": " openstack",
    "a space after": "openstack ",
    "a dot after": "openstack.",
    "wildcard": "*",
    "null": "null",
    "the empty text": "''",
    "full-width digits": OWNER.translate(FULLWIDTH),
    "one full-width digit": OWNER[:-1] + "\N{FULLWIDTH DIGIT ONE}",
    "Arabic digits": OWNER.translate(ARABIC),
    "a digit in a circle": OWNER[:-1] + "\N{CIRCLED DIGIT ONE}",
    "a small l for 1": OWNER[:-1] + "l",
    "dashes elsewhere": f"{OWNER[:16]}-{OWNER[16:]}",
    "dashes alone": DASHED.replace("-", "\N{HYPHEN}"),
    "a dash too many": f"{DASHED}-",
    "braces": f"{{{DASHED}}}",
    "a URN": f"urn:uuid:{DASHED}",
    "a digit too few": OWNER[:-1],
    "a digit too many": f"{OWNER}0",
    "hexadecimal": f"0x{OWNER}",
    "a number": str(int(OWNER, 16)),
}


@pytest.mark.parametrize("project", [*PRIVATE, OWNER.upper(), DASHED, DASHED.upper()])
def test_project_sees_its_own_images(connection: Connection, project: str) -> None:
    own = PRIVATE["openstack" if project == "openstack" else OWNER]
    assert set(connection.fetch(request(f"/v2/{project}/images")).images) == {own, *PUBLIC}
    assert connection.fetch(request(f"/v2/{project}/images/{own}")).status == 200


@pytest.mark.parametrize("project", PROJECTS.values(), ids=PROJECTS.keys())
def test_lookalike_of_project_id_is_another_project(connection: Connection, project: str) -> None:
    name = percent_encoded(project)
    for path in (f"/v2/{name}/images", f"/v2/{name}/images/detail"):
        assert set(connection.fetch(request(path)).images) == set(PUBLIC)
    paths = [f"{begin}/{name}/images/{image}" for begin in ("/v2", "") for image in PRIVATE.values()]
    connection.send(*(request(path) for path in paths))
    assert [connection.receive().fault for _ in paths] == [(404, "itemNotFound")] * len(paths)
    for image in PRIVATE.values():
        assert connection.fetch(request(f"/v2/{name}/images/{image}", method="DELETE")).fault == (404, "itemNotFound")


@pytest.mark.parametrize(
    "image",
    [
        *(EXAMPLE.upper(), EXAMPLE.replace("-", ""), EXAMPLE.replace("-", "\N{HYPHEN}"), EXAMPLE.translate(FULLWIDTH)),
        *(EXAMPLE.translate(ARABIC), f"{EXAMPLE} ", f"{EXAMPLE}\n", f"{EXAMPLE}\0", f"{{{EXAMPLE}}}", f"{EXAMPLE}%"),
        f"{EXAMPLE[:-1]}_",
    ],
)
def test_lookalike_of_image_id_is_not_found(connection: Connection, image: str) -> None:
    name = percent_encoded(image)
    assert connection.fetch(request(f"/v2/openstack/images/{name}")).fault == (404, "itemNotFound")
    assert connection.fetch(request(f"/v2/openstack/images/{name}", method="DELETE")).fault == (404, "itemNotFound")
    assert connection.fetch(request(f"{LIST}?marker={name}")).fault == (400, "badRequest")


@pytest.mark.parametrize(
    "key", ["\N{KELVIN SIGN}ernel_id", "kernel\N{FULLWIDTH LOW LINE}id", "KERNEL_ID", "kernel_id "]
)
def test_lookalike_of_metadata_key_is_not_found(connection: Connection, key: str) -> None:
    path = f"/v2/openstack/images/{EXAMPLE}/metadata/{percent_encoded(key)}"
    assert connection.fetch(request(path)).fault == (404, "itemNotFound")
    assert connection.fetch(request(path, method="DELETE")).fault == (404, "itemNotFound")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("status", "ACT\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}VE"),
        ("status", "ACT\N{LATIN SMALL LETTER DOTLESS I}VE"),
        ("status", "ACTIVE\n"),
        ("type", "BA\N{LATIN SMALL LETTER LONG S}E"),
        ("limit", "\N{FULLWIDTH DIGIT ONE}"),
        ("limit", "\N{ARABIC-INDIC DIGIT ONE}"),
        ("limit", "\N{SUPERSCRIPT ONE}"),
        ("limit", "1_0"),
        ("limit", "+1"),
        ("minRam", "\N{MATHEMATICAL BOLD DIGIT ZERO}"),
        ("minDisk", "0\n"),
        ("changes-since", "2020-01-01T00:00:00Z\n"),
        ("changes-since", "2020-01-01T00:00:00Z".translate(FULLWIDTH)),
        ("changes-since", "2020\N{MINUS SIGN}01\N{MINUS SIGN}01T00:00:00Z"),
        ("\N{KELVIN SIGN}", "1"),
        ("\N{LATIN SMALL LETTER LONG S}tatus", "ACTIVE"),
        ("Limit", "1"),
        ("limit ", "1"),
        ("limit\0", "1"),
        ("limit[]", "1"),
    ],
)
def test_lookalike_of_parameter_or_value_is_rejected(connection: Connection, parameter: str, value: str) -> None:
    response = connection.fetch(request(f"{LIST}?{percent_encoded(parameter)}={percent_encoded(value)}"))
    assert response.fault == (400, "badRequest")
