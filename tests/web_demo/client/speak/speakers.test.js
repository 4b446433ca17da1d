import assert from "node:assert/strict";
import { test } from "node:test";

import { ServiceError, Services } from "../../../../web_demo/client/net/services.js";
import { Speakers } from "../../../../web_demo/client/speak/speakers.js";

/** What the page would send, as a server reads it; `answer` is the service's. */
function asking(answer, status = 200) {
  const requests = [];
  const fetcher = async (url, options) => {
    requests.push(new Request(url, options));
    return Response.json(answer, { status });
  };
  return [new Speakers(new Services(() => "secret", () => "zh", "http://host/voice/", fetcher)), requests];
}

test("a voice is added as a form with its recording, under the name that the service makes of it", async () => {
  const [speakers, requests] = asking({ speaker: { name: "\u00e9", kind: "added" } }, 201);
  const recording = new File([Uint8Array.of(1, 2, 3)], "me.wav", { type: "audio/wav" });
  assert.equal(await speakers.add("e\u0301", recording, "what is said"), "\u00e9");
  const [request] = requests;
  assert.deepEqual([request.method, request.url], ["POST", "http://host/voice/api/speakers"]);
  assert.equal(request.headers.get("Authorization"), "Bearer secret");
  const form = await request.formData();
  assert.deepEqual([form.get("name"), form.get("transcript")], ["e\u0301", "what is said"]);
  assert.equal(form.get("audio").name, "me.wav");
  assert.deepEqual(new Uint8Array(await form.get("audio").arrayBuffer()), Uint8Array.of(1, 2, 3));
});

test("a name is one part of the address, whatever is in it", async () => {
  const [speakers, requests] = asking({ success: true });
  await speakers.remove("小 明/?#");
  assert.equal(requests[0].method, "DELETE");
  assert.equal(requests[0].url, "http://host/voice/api/speakers/%E5%B0%8F%20%E6%98%8E%2F%3F%23");
});

test("a refusal is thrown in the service's words", async () => {
  const [speakers] = asking({ error: { code: "forbidden", message: "voices are not kept here" } }, 403);
  for (const call of [() => speakers.add("x", new File([], "x.wav"), ""), () => speakers.remove("x"), () => speakers.list()]) {
    await assert.rejects(call, (error) => error instanceof ServiceError && error.message === "voices are not kept here");
  }
});
