// Call all operations with the types of openapi-typescript, and print the results as JSON.
//
// Arguments: the URL of the service, a project, the id of an image, and another project.

import createClient from "openapi-fetch";
import type { paths } from "./compute-images.js";

const [url, tenant_id, image_id, other] = process.argv.slice(2) as [string, string, string, string];
const { GET, PUT, POST, DELETE } = createClient<paths>({ baseUrl: url });

const params = { path: { tenant_id, image_id } };
const item = { path: { ...params.path, key: "kernel_id" } };
const metadata = { metadata: { os_distro: "ubuntu", os_version: "22.04" } };

type Result<Data> = { data?: Data; error?: unknown; response: Response };

async function shown<Data>(result: Promise<Result<Data>>): Promise<Data> {
  const { data, error } = await result;
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

const missing = await GET("/v2/{tenant_id}/images/{image_id}", {
  params: { path: { tenant_id, image_id: "nothing" } },
});
if (missing.error === undefined || !("itemNotFound" in missing.error)) throw new Error("the error has another type");

const results = {
  fault: { itemNotFound: missing.error.itemNotFound },
  listImages: await shown(GET("/v2/{tenant_id}/images", { params: { path: { tenant_id } } })),
  listImagesDetails: await shown(GET("/v2/{tenant_id}/images/detail", { params: { path: { tenant_id } } })),
  filtered: await shown(
    GET("/v2/{tenant_id}/images/detail", {
      params: {
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
      },
    }),
  ),
  showImage: await shown(GET("/v2/{tenant_id}/images/{image_id}", { params })),
  showBookmarkedImage: await shown(GET("/{tenant_id}/images/{image_id}", { params })),
  listMetadata: await shown(GET("/v2/{tenant_id}/images/{image_id}/metadata", { params })),
  showMetadataItem: await shown(GET("/v2/{tenant_id}/images/{image_id}/metadata/{key}", { params: item })),
  listVersions: await shown(GET("/")),
  showVersion: await shown(GET("/v2")),
  showVersionOfRoot: await shown(GET("/v2/")),
  checkHealth: (await shown(GET("/healthcheck"))).status,
  checkReadiness: (await shown(GET("/healthcheck/ready"))).status,
  updateMetadata: await shown(POST("/v2/{tenant_id}/images/{image_id}/metadata", { params, body: metadata })),
  replaceMetadata: await shown(PUT("/v2/{tenant_id}/images/{image_id}/metadata", { params, body: metadata })),
  setMetadataItem: await shown(
    PUT("/v2/{tenant_id}/images/{image_id}/metadata/{key}", { params: item, body: { meta: { kernel_id: "nokernel" } } }),
  ),
  deleteMetadataItem: (await DELETE("/v2/{tenant_id}/images/{image_id}/metadata/{key}", { params: item })).response
    .status,
  deleteImage: (await DELETE("/v2/{tenant_id}/images/{image_id}", { params })).response.status,
};
console.log(JSON.stringify(results));
