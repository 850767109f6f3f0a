"""Makes up images for catalog files: as many as are wanted, the same ones for the same seed."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

Document = dict[str, Any]

TENANTS = (
    "776a290892b747c4af8cec5d0e9b3a71",
    "0b5e2c7d94f14c1e8a6f3d2b1c0e9f88",
    "c3a1f0e5d7b94826b3e4a5968778695a",
    "00000000000040008000000000000001",
    "fedcba98765443218fedcba987654321",
)

# The project of the documented sample owns none of these images, but some are shared with it.
GUEST = "openstack"

NAMES = (
    *(f"{system}-{version}" for system in ("ubuntu", "debian", "windows") for version in ("14.04", "14.10", "16.04")),
    *(f"fj_sa_20180427_{number:03}" for number in range(40)),
    # Case, spaces and the two ways to write an accent all count; nothing is a wildcard, and nothing ends a text.
    *("Ubuntu-14.04", "ubuntu-14.04 ", " ", "naïve", "nai\u0308ve", "イメージ", "образ №7", "🐧", "null", "NULL"),
    *("100%", "100% ", "%", "%41", "_", "fj_sa_20180427_00_", "ubuntu%", "*", "?", "O'Brien's", "'", '"quoted"', "\\"),
    *("a+b", "a b", "a&b=c", "a;b", "#1", "a/b", "' OR 1=1 --", "line\nbreak", "\ttab"),
)

_SERVERS = 400
_ODD_SERVERS = ("i-00000001", "web 1", "rack/7", "100%", "café", "srv?x=1#y", "urn:srv:1", "O'Brien")

_STATES = (
    *(("ACTIVE", 100),) * 28,
    *(("SAVING", 25), ("SAVING", 50)) * 2,
    *(("DELETED", 0),) * 4,
    *(("ERROR", 0),) * 2,
    *(("UNKNOWN", 0),) * 2,
)
# None: the file does not say it, which makes the image public.
_VISIBILITIES = (*("public",) * 5, *("private",) * 6, *("shared",) * 6, *("community",) * 2, None)
_METADATA: tuple[Document, ...] = (
    {},
    {"kernel_id": "nokernel", "ramdisk_id": "nokernel"},
    {"architecture": "x86_64", "kernel_id": "nokernel", "ramdisk_id": None},
    {"architecture": "x86_64", "auto_disk_config": "True", "os_distro": "ubuntu"},
    {"os_version": "", "description": 'Größe: "5 µm", 100 %', "sync_status": None},
)
_IMAGE_TYPES = (*("snapshot",) * 6, *("backup",) * 3, "image", "Snapshot", "", None)
_SIZES = (0, 194_008_676, 2_147_483_648, 9_007_199_254_740_991)
_ELSEWHERE = [
    {"rel": "self", "href": "http://elsewhere.example.com/v2/openstack/servers/1"},
    {"rel": "bookmark", "href": "http://elsewhere.example.com/openstack/servers/1"},
]
_FIRST_DAY = datetime(2011, 1, 1, 1, 2, 3, tzinfo=UTC)
_SECONDS = 15 * 365 * 24 * 3600
_LAG = (0, 0, 0, 0, 1, 60, 807, 86_400, 31_536_000)


class _Pools(NamedTuple):
    """What the images of one run are put together from."""

    tenants: Sequence[Sequence[str]]
    guests: Sequence[Sequence[str]]
    servers: Sequence[str]
    seconds: int


def images(count: int, *, seed: int = 0, tenants: Sequence[str] = TENANTS) -> Iterator[Document]:
    """Give images as catalog files hold them, one at a time.

    About four are created in the same second, anywhere in the file.
    """
    random = Random(seed)
    spelled = [spellings(tenant) for tenant in tenants]
    pools = _Pools(
        tenants=spelled,
        guests=[*spelled, spellings(GUEST)],
        servers=[*(_uuid(random) for _ in range(_SERVERS)), *_ODD_SERVERS * 8],
        seconds=max(count // 4, 1),
    )
    for _ in range(count):
        yield _image(random, pools)


def spellings(tenant: str) -> Sequence[str]:
    """Give the ways to write a tenant that is given in lower case, without dashes."""
    if tenant == GUEST:
        return (tenant,)
    dashed = _dashed(tenant)
    return (tenant, dashed, tenant.upper(), dashed.upper())


def _image(random: Random, pools: _Pools) -> Document:
    status, progress = random.choice(_STATES)
    created = _FIRST_DAY + timedelta(seconds=random.randrange(pools.seconds) * (_SECONDS // pools.seconds))
    updated = created + timedelta(seconds=random.choice(_LAG))
    return {
        "id": _uuid(random),
        "name": random.choice(NAMES) if random.random() < 0.9 else random.choice((None, "")),
        "status": status,
        "progress": progress,
        "created": _text(created),
        "updated": _text(updated),
        "minDisk": random.choice((0, 0, 20)),
        "minRam": random.choice((0, 0, 512)),
        **_size(random),
        **_origin(random, pools),
        **_audience(random, pools),
    }


def _size(random: Random) -> Document:
    return {"OS-EXT-IMG-SIZE:size": random.choice(_SIZES)} if random.random() < 0.7 else {}


def _origin(random: Random, pools: _Pools) -> Document:
    """Say what the image was made from: in the metadata, as Glance does, and seldom as the API does."""
    metadata = dict(random.choice(_METADATA))
    kind = random.random()
    if kind < 0.3:
        metadata["instance_uuid"] = random.choice(pools.servers)
    elif kind < 0.35:
        metadata["instance_uuid"] = random.choice((None, ""))
    if 0.2 < kind < 0.5:
        metadata["image_type"] = random.choice(_IMAGE_TYPES)
    if kind > 0.97:
        metadata["sync_status_reason"] = "ERROR:A timeout occurred during synchronize image the server"
    if 0.5 < kind < 0.53:
        return {"metadata": metadata, "server": {"id": random.choice(pools.servers), "links": _ELSEWHERE}}
    return {"metadata": metadata}


def _audience(random: Random, pools: _Pools) -> Document:
    """Say who may see the image. Members stand beside other visibilities too, where they mean nothing."""
    audience: Document = {}
    visibility = random.choice(_VISIBILITIES)
    if visibility is not None:
        audience["visibility"] = visibility
    if random.random() < 0.92:
        audience["owner"] = random.choice(random.choice(pools.tenants))
    if visibility == "shared" or random.random() < 0.1:
        audience["members"] = [random.choice(random.choice(pools.guests)) for _ in range(random.randrange(4))]
    return audience


def _uuid(random: Random) -> str:
    return _dashed(f"{random.getrandbits(128):032x}")


def _dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _text(time: datetime) -> str:
    return f"{time.isoformat()[:19]}Z"
