/**
 * HTTP calls to the server of this page, which passes them on to the other services. Errors come as words.
 * Event "trouble" (detail: what keeps this page from its server, or null): it concerns every part of the page alike.
 */

/** What `POST /api/access` says, as keys of the page's words. */
const REFUSALS = { host: "hostRefused", origin: "originRefused", key_missing: "keyMissing", key_wrong: "keyWrong" };
const SEEN_BY_ALL = ["unreachable", "keyMissing", "keyWrong"]; // else a call may work, and only the conversation does not

/** An error that the service put into words, or none at all came through (`code` "unreachable"). */
export class ServiceError extends Error {
  /** It is what `Services.trouble` says. */
  everywhere = false;

  constructor(code, message, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export class Services extends EventTarget {
  /** @type {"unreachable"|"keyMissing"|"keyWrong"|"hostRefused"|"originRefused"|null} a key of the page's words */
  trouble = null;
  #base;
  #key;
  #language;
  #fetch;

  /**
   * @param {() => string} key the API key, "" for none @param {() => string} language of what the services say
   * @param {string} base address of the page
   */
  constructor(key, language, base = document.baseURI, fetcher = (...request) => fetch(...request)) {
    super();
    this.#key = key;
    this.#language = language;
    this.#base = base;
    this.#fetch = fetcher;
  }

  /** @returns {Promise<Response>} with an ok status. Throws ServiceError, or AbortError when `signal` fired. */
  async request(path, options = {}) {
    const response = await this.#send(path, options);
    if (response.ok) {
      if (SEEN_BY_ALL.includes(this.trouble)) this.#found(null);
      return response;
    }
    const refused = response.status === 401 || response.status === 403 ? await this.access() : null;
    if (refused) throw this.#trouble();
    throw await serviceError(response);
  }

  async json(path, options) {
    return (await this.request(path, options)).json();
  }

  /** Health of the three services: {s2s, asr, tts}, each with `status` and what else it says of itself. */
  async health() {
    return (await this.json("api/services")).services;
  }

  /** Asks what keeps this page from its server: a WebSocket that is refused tells nothing. @returns `trouble` */
  async access() {
    const response = await this.#send("api/access", { method: "POST" }).catch((error) => error);
    const { refused } = response.ok ? await response.json() : {};
    if (refused !== undefined) this.#found(REFUSALS[refused] ?? null);
    return this.trouble;
  }

  /** The address of a WebSocket at the server of this page; browsers cannot send a key with it otherwise. */
  socket(path, fields) {
    const url = new URL(path, this.#base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.search = new URLSearchParams({ ...fields, ...(this.#key() && { api_key: this.#key() }) });
    return url.href;
  }

  async #send(path, options) {
    const headers = new Headers(options.headers);
    if (this.#key()) headers.set("Authorization", `Bearer ${this.#key()}`);
    headers.set("Accept-Language", this.#language());
    try {
      return await this.#fetch(new URL(path, this.#base), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      this.#found("unreachable");
      throw this.#trouble();
    }
  }

  #trouble() {
    return Object.assign(new ServiceError(this.trouble, ""), { everywhere: true });
  }

  #found(trouble) {
    if (trouble === this.trouble) return;
    this.trouble = trouble;
    this.dispatchEvent(new CustomEvent("trouble", { detail: trouble }));
  }
}

async function serviceError(response) {
  const body = await response.json().catch(() => null);
  const { code = "internal_error", message = response.statusText } = body?.error ?? {};
  return new ServiceError(code, message, response.status);
}
