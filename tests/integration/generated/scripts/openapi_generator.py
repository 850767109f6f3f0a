"""Call all operations with the client of openapi-generator, and print the results as JSON.

Arguments: the URL of the service, a project, the id of an image, and another project.
"""

import json
import sys
from datetime import datetime
from typing import Any

import compute_images_api as api
from pydantic import BaseModel

URL, PROJECT, IMAGE, OTHER = sys.argv[1:]
METADATA = api.NewMetadata(metadata={"os_distro": "ubuntu", "os_version": "22.04"})
ITEM = api.NewMetadataItem(meta={"kernel_id": "nokernel"})


OPTIONAL = {"images_links", "server", "OS-EXT-IMG-SIZE:size", "type"}  # None stands for their absence


def shown(document: BaseModel) -> Any:
    text = document.model_dump_json(by_alias=True, exclude_unset=True)
    return json.loads(text, object_hook=without_absent)


def without_absent(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None or name not in OPTIONAL}


def not_found(exception: api.ApiException) -> Any:
    """Return the document of a fault, which has to be of this model."""
    assert isinstance(exception.data, api.ItemNotFoundDocument)
    return shown(exception.data)


with api.ApiClient(api.Configuration(host=URL)) as client:
    images, metadata, versions = api.ImagesApi(client), api.MetadataApi(client), api.VersionsApi(client)
    results = {
        "listImages": shown(images.list_images(PROJECT)),
        "listImagesDetails": shown(images.list_images_details(PROJECT)),
        "filtered": shown(
            images.list_images_details(
                OTHER,
                changes_since=datetime.fromisoformat("2021-01-01T02:00:00+02:00"),
                server="http://compute.test/v2/servers/a-server",
                name="own",
                status=api.ImageStatus.ACTIVE,
                type="SERVER",
                min_ram=512,
                min_disk=10,
                limit=1,
            )
        ),
        "showImage": shown(images.show_image(PROJECT, IMAGE)),
        "showBookmarkedImage": shown(images.show_bookmarked_image(PROJECT, IMAGE)),
        "listMetadata": shown(metadata.list_metadata(PROJECT, IMAGE)),
        "showMetadataItem": shown(metadata.show_metadata_item(PROJECT, IMAGE, "kernel_id")),
        "listVersions": shown(versions.list_versions()),
        "showVersion": shown(versions.show_version()),
        "showVersionOfRoot": shown(versions.show_version_of_root()),
        "checkHealth": api.HealthApi(client).check_health().status,
        "checkReadiness": api.HealthApi(client).check_readiness().status,
        "updateMetadata": shown(metadata.update_metadata(PROJECT, IMAGE, METADATA)),
        "replaceMetadata": shown(metadata.replace_metadata(PROJECT, IMAGE, METADATA)),
        "setMetadataItem": shown(metadata.set_metadata_item(PROJECT, IMAGE, "kernel_id", ITEM)),
        "deleteMetadataItem": metadata.delete_metadata_item_with_http_info(PROJECT, IMAGE, "kernel_id").status_code,
        "deleteImage": images.delete_image_with_http_info(PROJECT, IMAGE).status_code,
    }
    try:
        images.show_image(PROJECT, "nothing")
    except api.ApiException as exception:
        results["fault"] = not_found(exception)
json.dump(results, sys.stdout)
