import assert from "node:assert/strict";
import { test } from "node:test";

import { Services } from "../../../../web_demo/client/net/services.js";

/** Answers in turn: [status, body], or an error. */
function asking(...answers) {
  const requests = [];
  const fetcher = async (url, options) => {
    requests.push([options.method ?? "GET", url.pathname, options.headers]);
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return Response.json(answer[1], { status: answer[0] });
  };
  const services = new Services(() => "secret", () => "zh", "http://host/voice/", fetcher);
  const troubles = [];
  services.addEventListener("trouble", ({ detail }) => troubles.push(detail));
  return { services, requests, troubles };
}

const refusal = (status) => [status, { error: { code: "unauthorized", message: "words of the service" } }];

test("a call goes below the page, with the key and the language of the page", async () => {
  const { services, requests } = asking([200, { services: {} }]);
  await services.health();
  const [[method, path, headers]] = requests;
  assert.deepEqual([method, path], ["GET", "/voice/api/services"]);
  assert.deepEqual([headers.get("Authorization"), headers.get("Accept-Language")], ["Bearer secret", "zh"]);
});

for (const [refused, trouble] of [
  ["key_missing", "keyMissing"],
  ["key_wrong", "keyWrong"],
  ["host", "hostRefused"],
  ["origin", "originRefused"],
]) {
  test(`what is refused for ${refused} is found out, and told once`, async () => {
    const { services, requests, troubles } = asking(refusal(401), [200, { refused }], refusal(403), [200, { refused }]);
    for (let times = 0; times < 2; times += 1) {
      await assert.rejects(services.health(), { code: trouble, everywhere: true });
    }
    assert.deepEqual(troubles, [trouble]);
    assert.deepEqual(requests[1].slice(0, 2), ["POST", "/voice/api/access"]);
  });
}

test("a refusal that does not concern the page as a whole is the service's word", async () => {
  const { services, troubles } = asking(refusal(403), [200, { refused: "" }]);
  await assert.rejects(services.request("api/speakers"), { code: "unauthorized", message: "words of the service", everywhere: false });
  assert.deepEqual(troubles, []);
});

test("a lost server is told, and that it is back", async () => {
  const { services, troubles } = asking(new TypeError("refused"), [503, {}], [200, { services: {} }]);
  await assert.rejects(services.health(), { code: "unreachable", everywhere: true });
  await assert.rejects(services.health(), { status: 503 });
  await services.health();
  assert.deepEqual(troubles, ["unreachable", null]);
});

test("what works by HTTP says nothing about an origin that the conversation is refused for", async () => {
  const { services, troubles } = asking([200, { refused: "origin" }], [200, { services: {} }], [200, { refused: "" }]);
  await services.access();
  await services.health();
  assert.equal(services.trouble, "originRefused");
  await services.access();
  assert.deepEqual(troubles, ["originRefused", null]);
});
