/** What the user chose, kept in this browser only. Values that do not fit are replaced by the default. */

const KEY = "fun-audio-chat.settings";

const isText = (most) => (value) => typeof value === "string" && value.length <= most;
const isOneOf = (...values) => (value) => values.includes(value);
const isBetween = (low, high) => (value) => typeof value === "number" && value >= low && value <= high;
const isFlag = (value) => typeof value === "boolean";

/** name: [default, check] */
const FIELDS = {
  locale: ["auto", isOneOf("auto", "en", "zh")],
  theme: ["auto", isOneOf("auto", "light", "dark")],
  prompt: ["", isText(8000)],
  spokenLanguage: ["", isText(35)],
  voice: ["", isText(200)],
  speech: [true, isFlag],
  handsFree: [false, isFlag],
  threshold: [0.5, isBetween(0.05, 0.95)],
  turnEnd: ["auto", isOneOf("auto", "low", "high", "timer")], // by meaning, as eagerly as that, or by the timer alone
  silenceMs: [600, isBetween(200, 2000)],
  microphone: ["", isText(200)],
  speaker: ["", isText(200)],
  server: ["", isText(500)],
  key: ["", isText(500)],
};

export class Settings extends EventTarget {
  #storage;
  #values;

  /** @param {Pick<Storage, "getItem"|"setItem">} storage */
  constructor(storage) {
    super();
    this.#storage = storage;
    this.#values = load(storage);
  }

  get(name) {
    return this.#values[name];
  }

  /** Throws RangeError for a value that does not fit. Tells listeners ("change", detail: the name). */
  set(name, value) {
    const [, fits] = FIELDS[name];
    if (!fits(value)) throw new RangeError(`${name} cannot be ${JSON.stringify(value)}`);
    if (this.#values[name] === value) return;
    this.#values[name] = value;
    this.#storage.setItem(KEY, JSON.stringify(this.#values));
    this.dispatchEvent(new CustomEvent("change", { detail: name }));
  }
}

function load(storage) {
  let kept = null;
  try {
    kept = JSON.parse(storage.getItem(KEY) ?? "{}");
  } catch (error) {
    console.warn("the kept settings cannot be read; defaults are used:", error.message);
  }
  const entries = Object.entries(FIELDS).map(([name, [initial, fits]]) => {
    const value = kept?.[name];
    return [name, value !== undefined && fits(value) ? value : initial];
  });
  return Object.fromEntries(entries);
}

/**
 * The session's settings, as the server takes them (PROTOCOL.md, metadata).
 * @param {{listens: boolean, speaks: boolean}} [can] whether there are a microphone and a loudspeaker
 */
export function sessionMetadata(settings, language, can = { listens: true, speaks: true }) {
  const turnEnd = settings.get("turnEnd");
  const detection = {
    ...(turnEnd === "timer" ? { type: "server_vad" } : { type: "semantic_vad", eagerness: turnEnd }),
    threshold: settings.get("threshold"),
    silence_duration_ms: settings.get("silenceMs"),
    prefix_padding_ms: 300,
  };
  return {
    events: true,
    language,
    spoken_language: settings.get("spokenLanguage"),
    voice: settings.get("voice"),
    speech: settings.get("speech") && can.speaks,
    system_prompt: settings.get("prompt"),
    turn_detection: settings.get("handsFree") && can.listens ? detection : null,
  };
}

/** Where the line goes: the server of this page, or the one in the settings. Throws TypeError for no address. @param {object} [query] */
export function chatAddress(settings, base, query = {}) {
  const server = settings.get("server").trim();
  const url = server ? new URL(server.includes("://") ? server : `${new URL(base).protocol}//${server}`) : new URL(".", base);
  if (!/\/$/.test(url.pathname)) url.pathname += "/";
  const chat = new URL("api/chat", url);
  chat.protocol = chat.protocol === "http:" || chat.protocol === "ws:" ? "ws:" : "wss:";
  for (const [name, value] of Object.entries(query)) chat.searchParams.set(name, value);
  if (settings.get("key")) chat.searchParams.set("api_key", settings.get("key"));
  return chat.href;
}
