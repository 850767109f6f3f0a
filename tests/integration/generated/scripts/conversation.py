"""Does with the generated client whatever the contract has, and prints what it was given as JSON.

It is called with the URL of the service and a project. The same is said in TypeScript beside it.
"""

import json
import sys
from datetime import datetime
from typing import Any, TypeVar

from compute_images_client import Client
from compute_images_client.api.health import check_health
from compute_images_client.api.images import (
    delete_image,
    list_images,
    list_images_details,
    show_bookmarked_image,
    show_image,
)
from compute_images_client.api.metadata import (
    delete_metadata_item,
    list_metadata,
    replace_metadata,
    set_metadata_item,
    show_metadata_item,
    update_metadata,
)
from compute_images_client.api.versions import list_versions, show_version, show_version_of_root
from compute_images_client.models import (
    BadRequestDocument,
    ForbiddenDocument,
    Health,
    Image,
    ImageDetailsList,
    ImageDocument,
    ImageList,
    ImageStatus,
    ItemNotFoundDocument,
    ListImagesDetailsType,
    MetadataDocument,
    MetadataItemDocument,
    NewMetadata,
    NewMetadataItem,
    NewMetadataItemMeta,
    NewMetadataMetadata,
    Version,
    VersionDocument,
    VersionList,
)
from compute_images_client.types import Response, Unset

T = TypeVar("T")

URL, TENANT = sys.argv[1:]
OWN, FOREIGN, NOBODY = (f"00000000-0000-4000-8000-{number:012}" for number in (1, 2, 9))
SINCE = datetime.fromisoformat("2021-01-01T02:00:00+02:00")


def parsed(model: type[T], answer: Response[Any]) -> T:
    """Give what an answer says, which has to be of this model."""
    assert isinstance(answer.parsed, model), answer
    return answer.parsed


def seen(image: Image) -> dict[str, Any]:
    """Give all fields of an image."""
    return {
        "id": str(image.id),
        "name": image.name,
        "status": image.status.value,
        "progress": image.progress,
        "created": image.created.timestamp(),
        "updated": image.updated.timestamp(),
        "minDisk": image.min_disk,
        "minRam": image.min_ram,
        "size": None if isinstance(image.os_ext_img_siz_esize, Unset) else image.os_ext_img_siz_esize,
        "metadata": image.metadata.to_dict(),
        "server": None if isinstance(image.server, Unset) else image.server.id,
        "links": [link.rel.value for link in image.links],
    }


def page(answer: Response[Any]) -> dict[str, Any]:
    """Give the names on a page, and its link to the next."""
    images = parsed(ImageList, answer)
    links = [] if isinstance(images.images_links, Unset) else images.images_links
    return {"names": [image.name for image in images.images], "links": [link.rel.value for link in links]}


def metadata(answer: Response[Any]) -> Any:
    """Give the items of an image's metadata."""
    return parsed(MetadataDocument, answer).metadata.to_dict()


def item(answer: Response[Any]) -> Any:
    """Give an item of an image's metadata."""
    return parsed(MetadataItemDocument, answer).meta.to_dict()


def items(**values: str) -> NewMetadata:
    """Write metadata."""
    return NewMetadata(metadata=NewMetadataMetadata.from_dict(values))


def version(found: Version) -> list[str]:
    """Give what a version says of itself."""
    return [found.id.value, found.status.value, found.links[0].href]


with Client(base_url=URL) as client:
    answers = {
        "filtered": [
            seen(image)
            for image in parsed(
                ImageDetailsList,
                list_images_details.sync_detailed(
                    TENANT,
                    client=client,
                    changes_since=SINCE,
                    server="http://compute.test/v2/servers/a-server",
                    name="own",
                    status=ImageStatus.ACTIVE,
                    type_=ListImagesDetailsType.SERVER,
                    min_ram=512,
                    min_disk=10,
                    limit=5,
                ),
            ).images
        ],
        "first page": page(list_images.sync_detailed(TENANT, client=client, limit=1)),
        "last page": page(list_images.sync_detailed(TENANT, client=client, limit=2, marker=OWN)),
        "shown": seen(parsed(ImageDocument, show_image.sync_detailed(TENANT, OWN, client=client)).image),
        "bookmarked": seen(
            parsed(ImageDocument, show_bookmarked_image.sync_detailed(TENANT, FOREIGN, client=client)).image
        ),
        "metadata": metadata(list_metadata.sync_detailed(TENANT, OWN, client=client)),
        "metadata updated": metadata(update_metadata.sync_detailed(TENANT, OWN, client=client, body=items(os="plan9"))),
        "metadata replaced": metadata(
            replace_metadata.sync_detailed(TENANT, OWN, client=client, body=items(os="plan9", edition="4"))
        ),
        "item set": item(
            set_metadata_item.sync_detailed(
                TENANT,
                OWN,
                "os",
                client=client,
                body=NewMetadataItem(meta=NewMetadataItemMeta.from_dict({"os": "inferno"})),
            )
        ),
        "item shown": item(show_metadata_item.sync_detailed(TENANT, OWN, "os", client=client)),
        "item deleted": delete_metadata_item.sync_detailed(TENANT, OWN, "os", client=client).status_code,
        "metadata left": metadata(list_metadata.sync_detailed(TENANT, OWN, client=client)),
        "image deleted": delete_image.sync_detailed(TENANT, OWN, client=client).status_code,
        "names left": page(list_images.sync_detailed(TENANT, client=client)),
        "tombstones": page(list_images.sync_detailed(TENANT, client=client, status=ImageStatus.DELETED)),
        "versions": [
            version(found) for found in parsed(VersionList, list_versions.sync_detailed(client=client)).versions
        ],
        "version": version(parsed(VersionDocument, show_version.sync_detailed(client=client)).version),
        "version of the root": version(
            parsed(VersionDocument, show_version_of_root.sync_detailed(client=client)).version
        ),
        "health": parsed(Health, check_health.sync_detailed(client=client)).status.value,
        "bad request": parsed(
            BadRequestDocument, list_images.sync_detailed(TENANT, client=client, marker=NOBODY)
        ).bad_request.to_dict(),
        "forbidden": parsed(
            ForbiddenDocument, delete_image.sync_detailed(TENANT, FOREIGN, client=client)
        ).forbidden.to_dict(),
        "not found": parsed(
            ItemNotFoundDocument, show_image.sync_detailed(TENANT, OWN, client=client)
        ).item_not_found.to_dict(),
    }
json.dump(answers, sys.stdout)
