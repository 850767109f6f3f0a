"""Call all operations of the generated client and print the results as JSON.

Arguments: the URL of the service, and a project. calls.mts does the same in TypeScript.
"""

import json
import sys
from datetime import datetime
from typing import Any, TypeVar

from compute_images_client import Client, models
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
from compute_images_client.types import Response, Unset

T = TypeVar("T")

URL, PROJECT = sys.argv[1:]
OWN, FOREIGN, MISSING = (f"00000000-0000-4000-8000-{number:012}" for number in (1, 2, 9))
SINCE = datetime.fromisoformat("2021-01-01T02:00:00+02:00")


def parsed(model: type[T], response: Response[Any]) -> T:
    """Return the document of a response, which has to be of this model."""
    assert isinstance(response.parsed, model), response
    return response.parsed


def printed(image: models.Image) -> dict[str, Any]:
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


def page(response: Response[Any]) -> dict[str, Any]:
    images = parsed(models.ImageList, response)
    links = [] if isinstance(images.images_links, Unset) else images.images_links
    return {"names": [image.name for image in images.images], "links": [link.rel.value for link in links]}


def metadata(response: Response[Any]) -> Any:
    return parsed(models.MetadataDocument, response).metadata.to_dict()


def item(response: Response[Any]) -> Any:
    return parsed(models.MetadataItemDocument, response).meta.to_dict()


def items(**values: str) -> models.NewMetadata:
    return models.NewMetadata(metadata=models.NewMetadataMetadata.from_dict(values))


def version(found: models.Version) -> list[str]:
    return [found.id.value, found.status.value, found.links[0].href]


with Client(base_url=URL) as client:
    results = {
        "filtered": [
            printed(image)
            for image in parsed(
                models.ImageDetailsList,
                list_images_details.sync_detailed(
                    PROJECT,
                    client=client,
                    changes_since=SINCE,
                    server="http://compute.test/v2/servers/a-server",
                    name="own",
                    status=models.ImageStatus.ACTIVE,
                    type_=models.ListImagesDetailsType.SERVER,
                    min_ram=512,
                    min_disk=10,
                    limit=5,
                ),
            ).images
        ],
        "first page": page(list_images.sync_detailed(PROJECT, client=client, limit=1)),
        "last page": page(list_images.sync_detailed(PROJECT, client=client, limit=2, marker=OWN)),
        "shown": printed(parsed(models.ImageDocument, show_image.sync_detailed(PROJECT, OWN, client=client)).image),
        "bookmarked": printed(
            parsed(models.ImageDocument, show_bookmarked_image.sync_detailed(PROJECT, FOREIGN, client=client)).image
        ),
        "metadata": metadata(list_metadata.sync_detailed(PROJECT, OWN, client=client)),
        "metadata updated": metadata(
            update_metadata.sync_detailed(PROJECT, OWN, client=client, body=items(os="plan9"))
        ),
        "metadata replaced": metadata(
            replace_metadata.sync_detailed(PROJECT, OWN, client=client, body=items(os="plan9", edition="4"))
        ),
        "item set": item(
            set_metadata_item.sync_detailed(
                PROJECT,
                OWN,
                "os",
                client=client,
                body=models.NewMetadataItem(meta=models.NewMetadataItemMeta.from_dict({"os": "inferno"})),
            )
        ),
        "item shown": item(show_metadata_item.sync_detailed(PROJECT, OWN, "os", client=client)),
        "item deleted": delete_metadata_item.sync_detailed(PROJECT, OWN, "os", client=client).status_code,
        "remaining metadata": metadata(list_metadata.sync_detailed(PROJECT, OWN, client=client)),
        "image deleted": delete_image.sync_detailed(PROJECT, OWN, client=client).status_code,
        "remaining names": page(list_images.sync_detailed(PROJECT, client=client)),
        "tombstones": page(list_images.sync_detailed(PROJECT, client=client, status=models.ImageStatus.DELETED)),
        "versions": [
            version(found) for found in parsed(models.VersionList, list_versions.sync_detailed(client=client)).versions
        ],
        "version": version(parsed(models.VersionDocument, show_version.sync_detailed(client=client)).version),
        "version of the root": version(
            parsed(models.VersionDocument, show_version_of_root.sync_detailed(client=client)).version
        ),
        "health": parsed(models.Health, check_health.sync_detailed(client=client)).status.value,
        "bad request": parsed(
            models.BadRequestDocument, list_images.sync_detailed(PROJECT, client=client, marker=MISSING)
        ).bad_request.to_dict(),
        "forbidden": parsed(
            models.ForbiddenDocument, delete_image.sync_detailed(PROJECT, FOREIGN, client=client)
        ).forbidden.to_dict(),
        "not found": parsed(
            models.ItemNotFoundDocument, show_image.sync_detailed(PROJECT, OWN, client=client)
        ).item_not_found.to_dict(),
    }
json.dump(results, sys.stdout)
