"""Call all operations with the client of openapi-python-client, and print the results as JSON.

Arguments: the URL of the service, a project, the id of an image, and another project.
"""

import json
import sys
from datetime import datetime
from typing import Any

from compute_images_client import Client, models
from compute_images_client.api.health import check_health, check_readiness
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
from compute_images_client.types import Response

URL, PROJECT, IMAGE, OTHER = sys.argv[1:]
METADATA = models.NewMetadata(models.NewMetadataMetadata.from_dict({"os_distro": "ubuntu", "os_version": "22.04"}))
ITEM = models.NewMetadataItem(models.NewMetadataItemMeta.from_dict({"kernel_id": "nokernel"}))


def shown(model: type[Any], response: Response[Any]) -> Any:
    """Return the document of a response, which has to be of this model."""
    assert isinstance(response.parsed, model), response
    return response.parsed.to_dict()


with Client(base_url=URL) as client:
    results = {
        "listImages": shown(models.ImageList, list_images.sync_detailed(PROJECT, client=client)),
        "listImagesDetails": shown(models.ImageDetailsList, list_images_details.sync_detailed(PROJECT, client=client)),
        "filtered": shown(
            models.ImageDetailsList,
            list_images_details.sync_detailed(
                OTHER,
                client=client,
                changes_since=datetime.fromisoformat("2021-01-01T02:00:00+02:00"),
                server="http://compute.test/v2/servers/a-server",
                name="own",
                status=models.ImageStatus.ACTIVE,
                type_=models.ListImagesDetailsType.SERVER,
                min_ram=512,
                min_disk=10,
                limit=1,
            ),
        ),
        "showImage": shown(models.ImageDocument, show_image.sync_detailed(PROJECT, IMAGE, client=client)),
        "fault": shown(models.ItemNotFoundDocument, show_image.sync_detailed(PROJECT, "nothing", client=client)),
        "showBookmarkedImage": shown(
            models.ImageDocument, show_bookmarked_image.sync_detailed(PROJECT, IMAGE, client=client)
        ),
        "listMetadata": shown(models.MetadataDocument, list_metadata.sync_detailed(PROJECT, IMAGE, client=client)),
        "showMetadataItem": shown(
            models.MetadataItemDocument, show_metadata_item.sync_detailed(PROJECT, IMAGE, "kernel_id", client=client)
        ),
        "listVersions": shown(models.VersionList, list_versions.sync_detailed(client=client)),
        "showVersion": shown(models.VersionDocument, show_version.sync_detailed(client=client)),
        "showVersionOfRoot": shown(models.VersionDocument, show_version_of_root.sync_detailed(client=client)),
        "checkHealth": shown(models.Health, check_health.sync_detailed(client=client))["status"],
        "checkReadiness": shown(models.Readiness, check_readiness.sync_detailed(client=client))["status"],
        "updateMetadata": shown(
            models.MetadataDocument, update_metadata.sync_detailed(PROJECT, IMAGE, client=client, body=METADATA)
        ),
        "replaceMetadata": shown(
            models.MetadataDocument, replace_metadata.sync_detailed(PROJECT, IMAGE, client=client, body=METADATA)
        ),
        "setMetadataItem": shown(
            models.MetadataItemDocument,
            set_metadata_item.sync_detailed(PROJECT, IMAGE, "kernel_id", client=client, body=ITEM),
        ),
        "deleteMetadataItem": delete_metadata_item.sync_detailed(
            PROJECT, IMAGE, "kernel_id", client=client
        ).status_code,
        "deleteImage": delete_image.sync_detailed(PROJECT, IMAGE, client=client).status_code,
    }
json.dump(results, sys.stdout)
