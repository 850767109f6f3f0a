// Call all operations with the client of swagger-typescript-api, and print the results as JSON.
//
// Arguments: the URL of the service, a project, the id of an image, and another project.

import { Api, ImageStatus, type HttpResponse, type ItemNotFoundDocument } from "./compute-images-api";

const [url, project, image, other] = process.argv.slice(2) as [string, string, string, string];
// The generated client does not know the media types of responses and bodies that operations share.
const json = { format: "json", headers: { "Content-Type": "application/json" } } as const;
const api = new Api({ baseUrl: url, baseApiParams: json });
const metadata = { metadata: { os_distro: "ubuntu", os_version: "22.04" } };

async function main() {
  const missing = api.v2.showImage(project, "nothing");
  return {
    fault: await missing.catch((response: HttpResponse<never, ItemNotFoundDocument>) => response.error),
    listImages: (await api.v2.listImages(project)).data,
    listImagesDetails: (await api.v2.listImagesDetails(project)).data,
    filtered: (
      await api.v2.listImagesDetails(other, {
        "changes-since": "2021-01-01T02:00:00+02:00",
        server: "http://compute.test/v2/servers/a-server",
        name: "own",
        status: ImageStatus.ACTIVE,
        type: "SERVER",
        minRam: 512,
        minDisk: 10,
        limit: 1,
      })
    ).data,
    showImage: { image: (await api.v2.showImage(project, image)).data.image },
    showBookmarkedImage: (await api.tenantId.showBookmarkedImage(project, image)).data,
    listMetadata: { metadata: (await api.v2.listMetadata(project, image)).data.metadata },
    showMetadataItem: (await api.v2.showMetadataItem(project, image, "kernel_id")).data,
    listVersions: (await api.listVersions()).data,
    showVersion: { version: (await api.v2.showVersion()).data.version },
    showVersionOfRoot: (await api.v2.showVersionOfRoot()).data,
    checkHealth: (await api.healthcheck.checkHealth()).data.status,
    checkReadiness: (await api.healthcheck.checkReadiness()).data.status,
    updateMetadata: (await api.v2.updateMetadata(project, image, metadata)).data,
    replaceMetadata: (await api.v2.replaceMetadata(project, image, metadata)).data,
    setMetadataItem: (await api.v2.setMetadataItem(project, image, "kernel_id", { meta: { kernel_id: "nokernel" } }))
      .data,
    deleteMetadataItem: (await api.v2.deleteMetadataItem(project, image, "kernel_id")).status,
    deleteImage: (await api.v2.deleteImage(project, image)).status,
  };
}

main().then((results) => console.log(JSON.stringify(results)));
