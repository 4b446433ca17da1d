/** Server-sent events with JSON in them (WHATWG HTML, 9.2.6). Pure but for the stream that it reads. */

/** @param {AsyncIterable<Uint8Array>} body of an answer @returns {AsyncGenerator<object>} the data of each event */
export async function* serverEvents(body) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of body) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop();
    yield* lines.filter((line) => line.startsWith("data:")).map((line) => JSON.parse(line.slice(5)));
  }
}

/** Safari has no async iteration of streams. @param {ReadableStream<Uint8Array>} stream */
export async function* chunksOf(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}
