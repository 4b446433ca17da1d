/** HTTP calls to the server of this page, which passes them on to the other services. Errors come as words. */

/** An error that the service put into words, or none at all came through (`code` "unreachable"). */
export class ServiceError extends Error {
  constructor(code, message, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export class Services {
  #base;
  #key;
  #fetch;

  /** @param {() => string} key the API key, "" for none @param {string} base address of the page */
  constructor(key, base = document.baseURI, fetcher = (...request) => fetch(...request)) {
    this.#key = key;
    this.#base = base;
    this.#fetch = fetcher;
  }

  /** @returns {Promise<Response>} with an ok status. Throws ServiceError, or AbortError when `signal` fired. */
  async request(path, options = {}) {
    const headers = new Headers(options.headers);
    if (this.#key()) headers.set("Authorization", `Bearer ${this.#key()}`);
    let response;
    try {
      response = await this.#fetch(new URL(path, this.#base), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServiceError("unreachable", "");
    }
    if (!response.ok) throw await serviceError(response);
    return response;
  }

  async json(path, options) {
    return (await this.request(path, options)).json();
  }

  /** Health of the three services: {s2s, asr, tts}, each with `status` and what else it says of itself. */
  async health() {
    return (await this.json("api/services")).services;
  }
}

async function serviceError(response) {
  const body = await response.json().catch(() => null);
  const { code = "internal_error", message = response.statusText } = body?.error ?? {};
  return new ServiceError(code, message, response.status);
}
