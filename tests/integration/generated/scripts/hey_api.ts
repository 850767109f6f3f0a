// Call all operations with the client of @hey-api/openapi-ts, and print the results as JSON.
//
// Arguments: the URL of the service, a project, the id of an image, and another project.

import * as sdk from "./compute-images-sdk";
import { client } from "./compute-images-sdk/client.gen";

const [url, tenant_id, image_id, other] = process.argv.slice(2) as [string, string, string, string];
client.setConfig({ baseUrl: url });

const path = { tenant_id, image_id };
const item = { ...path, key: "kernel_id" };
const body = { metadata: { os_distro: "ubuntu", os_version: "22.04" } };

async function shown<Data>(result: Promise<{ data?: Data; error?: unknown }>): Promise<Data> {
  const { data, error } = await result;
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

async function main() {
  const { error } = await sdk.showImage({ path: { tenant_id, image_id: "nothing" } });
  if (error === undefined || !("itemNotFound" in error)) throw new Error("the error has another type");
  return {
    fault: { itemNotFound: error.itemNotFound },
    listImages: await shown(sdk.listImages({ path: { tenant_id } })),
    listImagesDetails: await shown(sdk.listImagesDetails({ path: { tenant_id } })),
    filtered: await shown(
      sdk.listImagesDetails({
        path: { tenant_id: other },
        query: {
          "changes-since": "2021-01-01T02:00:00+02:00",
          server: "http://compute.test/v2/servers/a-server",
          name: "own",
          status: "ACTIVE",
          type: "SERVER",
          minRam: 512,
          minDisk: 10,
          limit: 1,
        },
      }),
    ),
    showImage: await shown(sdk.showImage({ path })),
    showBookmarkedImage: await shown(sdk.showBookmarkedImage({ path })),
    listMetadata: await shown(sdk.listMetadata({ path })),
    showMetadataItem: await shown(sdk.showMetadataItem({ path: item })),
    listVersions: await shown(sdk.listVersions()),
    showVersion: await shown(sdk.showVersion()),
    showVersionOfRoot: await shown(sdk.showVersionOfRoot()),
    checkHealth: (await shown(sdk.checkHealth())).status,
    checkReadiness: (await shown(sdk.checkReadiness())).status,
    updateMetadata: await shown(sdk.updateMetadata({ path, body })),
    replaceMetadata: await shown(sdk.replaceMetadata({ path, body })),
    setMetadataItem: await shown(sdk.setMetadataItem({ path: item, body: { meta: { kernel_id: "nokernel" } } })),
    deleteMetadataItem: (await sdk.deleteMetadataItem({ path: item })).response?.status,
    deleteImage: (await sdk.deleteImage({ path })).response?.status,
  };
}

main().then((results) => console.log(JSON.stringify(results)));
