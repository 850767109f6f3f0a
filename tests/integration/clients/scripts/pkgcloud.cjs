// Calls the image operations of pkgcloud and prints their results as JSON.
//
// Arguments: the URL of a project, the id of one of its images, and the id of an image of another project.

const { promisify } = require("node:util");
const pkgcloud = require("pkgcloud");

const [url, id, foreign] = process.argv.slice(2);

// pkgcloud requests a token and the service catalog from Keystone, unless it has both.
function clientOf(serviceUrl) {
  const client = pkgcloud.compute.createClient({ provider: "openstack", authUrl: url, username: "u", password: "p" });
  client._identity.token = { id: "token", expires: new Date("2100-01-01") };
  client._serviceUrl = serviceUrl;
  return (name, ...args) => promisify(client[name]).apply(client, args);
}

async function failure(promise) {
  try {
    await promise;
  } catch ({ provider, failCode, statusCode, message, method, href, result }) {
    return { provider, failCode, statusCode, message, request: `${method} ${new URL(href).pathname}`, result };
  }
}

async function main() {
  const call = clientOf(url);
  return {
    version: pkgcloud.version,
    listed: await call("getImages"),
    shown: await call("getImage", id),
    metadata: await call("updateImageMeta", id, { os: "plan9" }),
    "invalid key": await failure(call("updateImageMeta", id, { "no/key": "" })),
    "invalid project": await failure(clientOf(url.replace(/[^/]+$/, "%00"))("getImages")),
    "foreign image": await failure(call("destroyImage", foreign)),
    destroyed: await call("destroyImage", await call("getImage", id)),
    "shown after deletion": await failure(call("getImage", id)),
    "destroyed twice": await failure(call("destroyImage", id)),
    remaining: await call("getImages"),
  };
}

main().then((results) => console.log(JSON.stringify(results)));
