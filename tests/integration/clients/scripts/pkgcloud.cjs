// Does with pkgcloud what its users do with images, and prints what they are given as JSON.
//
// It is called with the URL of a project, and the ids of an image to change and of one that belongs to somebody else.

const { promisify } = require("node:util");
const pkgcloud = require("pkgcloud");

const [url, id, foreign] = process.argv.slice(2);

// pkgcloud asks Keystone for a token and for the service's URL, unless it has both.
function clientOf(serviceUrl) {
  const client = pkgcloud.compute.createClient({ provider: "openstack", authUrl: url, username: "u", password: "p" });
  client._identity.token = { id: "token", expires: new Date("2100-01-01") };
  client._serviceUrl = serviceUrl;
  return (name, ...args) => promisify(client[name]).apply(client, args);
}

async function failure(call) {
  try {
    await call;
  } catch ({ provider, failCode, statusCode, message, method, href, result }) {
    return { provider, failCode, statusCode, message, request: `${method} ${new URL(href).pathname}`, result };
  }
}

async function main() {
  const ask = clientOf(url);
  return {
    version: pkgcloud.version,
    listed: await ask("getImages"),
    shown: await ask("getImage", id),
    metadata: await ask("updateImageMeta", id, { os: "plan9" }),
    "not acceptable": await failure(ask("updateImageMeta", id, { "no/key": "" })),
    "no project": await failure(clientOf(url.replace(/[^/]+$/, "nonsense"))("getImages")),
    "not its own": await failure(ask("destroyImage", foreign)),
    destroyed: await ask("destroyImage", await ask("getImage", id)),
    gone: await failure(ask("getImage", id)),
    "gone already": await failure(ask("destroyImage", id)),
    left: await ask("getImages"),
  };
}

main().then((answers) => console.log(JSON.stringify(answers)));
