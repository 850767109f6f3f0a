// Call all operations with the generated types and print the results as JSON.
//
// Arguments: the URL of the service, and a project. calls.py does the same in Python.

import createClient from "openapi-fetch";
import type { components, paths } from "./compute-images.js";

type Schemas = components["schemas"];
type Result<Data, Fault = unknown> = { data?: Data; error?: Fault; response: Response };

const [url, tenant_id] = process.argv.slice(2) as [string, string];
const [own, foreign, missing] = [1, 2, 9].map((n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`) as [
  string,
  string,
  string,
];

const client = createClient<paths>({ baseUrl: url });
const path = { tenant_id, image_id: own };
const item_path = { ...path, key: "os" };

async function parsed<Data>(result: Promise<Result<Data>>): Promise<Data> {
  const { data, error } = await result;
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

type KeyOf<Fault> = Fault extends unknown ? keyof Fault : never;

// A fault has one key, by which its type is found.
async function fault<Fault extends object, Name extends KeyOf<Fault>>(
  name: Name,
  result: Promise<Result<unknown, Fault>>,
): Promise<Schemas["Fault"]> {
  const { error } = await result;
  if (error === undefined || !(name in error)) throw new Error(JSON.stringify(error));
  return (error as Record<Name, Schemas["Fault"]>)[name];
}

function printed(image: Schemas["Image"]) {
  return {
    id: image.id,
    name: image.name,
    status: image.status,
    progress: image.progress,
    created: Date.parse(image.created) / 1000,
    updated: Date.parse(image.updated) / 1000,
    minDisk: image.minDisk,
    minRam: image.minRam,
    size: image["OS-EXT-IMG-SIZE:size"] ?? null,
    metadata: image.metadata,
    server: image.server?.id ?? null,
    links: image.links.map((link) => link.rel),
  };
}

type Filters = NonNullable<paths["/v2/{tenant_id}/images"]["get"]["parameters"]["query"]>;

const list = (query: Filters) => client.GET("/v2/{tenant_id}/images", { params: { path: { tenant_id }, query } });

async function page(query: Filters) {
  const { images, images_links } = await parsed(list(query));
  return { names: images.map((image) => image.name), links: (images_links ?? []).map((link) => link.rel) };
}

async function metadata(result: Promise<Result<Schemas["MetadataDocument"]>>) {
  return (await parsed(result)).metadata;
}

async function item(result: Promise<Result<Schemas["MetadataItemDocument"]>>) {
  return (await parsed(result)).meta;
}

async function status(result: Promise<Result<unknown>>) {
  return (await result).response.status;
}

function version({ id, status, links }: Schemas["Version"]) {
  return [id, status, links[0]?.href];
}

const results = {
  filtered: (
    await parsed(
      client.GET("/v2/{tenant_id}/images/detail", {
        params: {
          path: { tenant_id },
          query: {
            "changes-since": "2021-01-01T02:00:00+02:00",
            server: "http://compute.test/v2/servers/a-server",
            name: "own",
            status: "ACTIVE",
            type: "SERVER",
            minRam: 512,
            minDisk: 10,
            limit: 5,
          },
        },
      }),
    )
  ).images.map(printed),
  "first page": await page({ limit: 1 }),
  "last page": await page({ limit: 2, marker: own }),
  shown: printed((await parsed(client.GET("/v2/{tenant_id}/images/{image_id}", { params: { path } }))).image),
  bookmarked: printed(
    (await parsed(client.GET("/{tenant_id}/images/{image_id}", { params: { path: { ...path, image_id: foreign } } })))
      .image,
  ),
  metadata: await metadata(client.GET("/v2/{tenant_id}/images/{image_id}/metadata", { params: { path } })),
  "metadata updated": await metadata(
    client.POST("/v2/{tenant_id}/images/{image_id}/metadata", {
      params: { path },
      body: { metadata: { os: "plan9" } },
    }),
  ),
  "metadata replaced": await metadata(
    client.PUT("/v2/{tenant_id}/images/{image_id}/metadata", {
      params: { path },
      body: { metadata: { os: "plan9", edition: "4" } },
    }),
  ),
  "item set": await item(
    client.PUT("/v2/{tenant_id}/images/{image_id}/metadata/{key}", {
      params: { path: item_path },
      body: { meta: { os: "inferno" } },
    }),
  ),
  "item shown": await item(
    client.GET("/v2/{tenant_id}/images/{image_id}/metadata/{key}", { params: { path: item_path } }),
  ),
  "item deleted": await status(
    client.DELETE("/v2/{tenant_id}/images/{image_id}/metadata/{key}", { params: { path: item_path } }),
  ),
  "remaining metadata": await metadata(client.GET("/v2/{tenant_id}/images/{image_id}/metadata", { params: { path } })),
  "image deleted": await status(client.DELETE("/v2/{tenant_id}/images/{image_id}", { params: { path } })),
  "remaining names": await page({}),
  tombstones: await page({ status: "DELETED" }),
  versions: (await parsed(client.GET("/"))).versions.map(version),
  version: version((await parsed(client.GET("/v2"))).version),
  "version of the root": version((await parsed(client.GET("/v2/"))).version),
  health: (await parsed(client.GET("/healthcheck"))).status,
  "bad request": await fault("badRequest", list({ marker: missing })),
  forbidden: await fault(
    "forbidden",
    client.DELETE("/v2/{tenant_id}/images/{image_id}", { params: { path: { ...path, image_id: foreign } } }),
  ),
  "not found": await fault("itemNotFound", client.GET("/v2/{tenant_id}/images/{image_id}", { params: { path } })),
};
console.log(JSON.stringify(results));
