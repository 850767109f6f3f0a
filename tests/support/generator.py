"""A generator of random images for catalog files. The same seed yields the same images."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from tests.support.projects import SAMPLE_PROJECT

Document = dict[str, Any]

PROJECTS = (
    "776a290892b747c4af8cec5d0e9b3a71",
    "0b5e2c7d94f14c1e8a6f3d2b1c0e9f88",
    "c3a1f0e5d7b94826b3e4a5968778695a",
    "00000000000040008000000000000001",
    "fedcba98765443218fedcba987654321",
)


NAMES = (
    *(f"{system}-{version}" for system in ("ubuntu", "debian", "windows") for version in ("14.04", "14.10", "16.04")),
    *(f"fj_sa_20180427_{number:03}" for number in range(40)),
    # Names that a lax comparison would confuse: case, spaces, two encodings of an accent, wildcards, quotes.
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
# None: without a visibility in the file, the image is public.
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
    """The values from which the images of one run are composed."""

    owners: Sequence[Sequence[str]]
    members: Sequence[Sequence[str]]
    servers: Sequence[str]
    seconds: int


def images(count: int, *, seed: int = 0, projects: Sequence[str] = PROJECTS) -> Iterator[Document]:
    """Yield images in the form of a catalog file.

    About four have the same time of creation, anywhere in the file. Some are shared with the project of the documented
    sample, which owns none.
    """
    random = Random(seed)
    owners = [spellings(project_id) for project_id in projects]
    pools = _Pools(
        owners=owners,
        members=[*owners, spellings(SAMPLE_PROJECT)],
        servers=[*(_uuid(random) for _ in range(_SERVERS)), *_ODD_SERVERS * 8],
        seconds=max(count // 4, 1),
    )
    for _ in range(count):
        yield _image(random, pools)


def spellings(project_id: str) -> Sequence[str]:
    """Return the forms in which a client can write a project id, which is given in its normal form."""
    if project_id == SAMPLE_PROJECT:
        return (project_id,)
    dashed = _dashed(project_id)
    return (project_id, dashed, project_id.upper(), dashed.upper())


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
        **_access(random, pools),
    }


def _size(random: Random) -> Document:
    return {"OS-EXT-IMG-SIZE:size": random.choice(_SIZES)} if random.random() < 0.7 else {}


def _origin(random: Random, pools: _Pools) -> Document:
    """Return metadata with the server and the type: as Glance stores them, and sometimes as the API shows them."""
    metadata = dict(random.choice(_METADATA))
    draw = random.random()
    if draw < 0.3:
        metadata["instance_uuid"] = random.choice(pools.servers)
    elif draw < 0.35:
        metadata["instance_uuid"] = random.choice((None, ""))
    if 0.2 < draw < 0.5:
        metadata["image_type"] = random.choice(_IMAGE_TYPES)
    if draw > 0.97:
        metadata["sync_status_reason"] = "ERROR:A timeout occurred during synchronize image the server"
    if 0.5 < draw < 0.53:
        return {"metadata": metadata, "server": {"id": random.choice(pools.servers), "links": _ELSEWHERE}}
    return {"metadata": metadata}


def _access(random: Random, pools: _Pools) -> Document:
    """Return owner, visibility and members. Members are also set where the visibility makes them meaningless."""
    access: Document = {}
    visibility = random.choice(_VISIBILITIES)
    if visibility is not None:
        access["visibility"] = visibility
    if random.random() < 0.92:
        access["owner"] = random.choice(random.choice(pools.owners))
    if visibility == "shared" or random.random() < 0.1:
        access["members"] = [random.choice(random.choice(pools.members)) for _ in range(random.randrange(4))]
    return access


def _uuid(random: Random) -> str:
    return _dashed(f"{random.getrandbits(128):032x}")


def _dashed(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _text(time: datetime) -> str:
    return f"{time.isoformat()[:19]}Z"
