/** A conversation as one file that needs nothing else: what was said, and the sound of it. It is made and kept by the user alone. */

const STYLE =
  "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}" +
  "audio{width:100%}dt{font-weight:600;margin-top:1rem}dd{margin:0;white-space:pre-wrap}";

/**
 * @param {{role: string, text: string}[]} messages @param {Uint8Array|null} wav
 * @param {{title: string, language: string, name: (role: string) => string}} words
 * @returns {Promise<Blob>} HTML
 */
export async function keepsake(messages, wav, { title, language, name }) {
  const said = messages.filter(({ role, text }) => (role === "user" || role === "assistant") && text);
  const lines = said.map(({ role, text }) => `<dt>${escaped(name(role))}</dt><dd>${escaped(text.trim())}</dd>`);
  const sound = wav ? ['<audio controls src="', await dataUrl(wav), '"></audio>'] : [];
  const head = `<!doctype html><html lang="${escaped(language)}"><meta charset="utf-8"><title>${escaped(title)}</title><style>${STYLE}</style>`;
  return new Blob([head, `<h1>${escaped(title)}</h1>`, ...sound, "<dl>", ...lines, "</dl></html>"], { type: "text/html" });
}

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

function escaped(text) {
  return text.replace(/[&<>"]/g, (sign) => ENTITIES[sign]);
}

async function dataUrl(wav) {
  const pieces = ["data:audio/wav;base64,"];
  for (let at = 0; at < wav.length; at += CHUNK_BYTES) pieces.push(btoa(String.fromCharCode(...wav.subarray(at, at + CHUNK_BYTES))));
  return pieces.join("");
}

const CHUNK_BYTES = 3 * 8192; // base64 has no rest in the middle
