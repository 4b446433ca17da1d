/** Status: how the three services are, asked again every few seconds while somebody looks. */

import { missingForTalk } from "../audio/support.js";
import { byId, inWords, make } from "../dom.js";

const EVERY_MS = 4000;
const NAMES = { s2s: "serviceS2s", asr: "serviceAsr", tts: "serviceTts" };

export class StatusView extends EventTarget {
  #services;
  #words;
  #underruns;
  #health = {};
  #timer = null;

  /** Event "health" (detail: what each service says of itself). @param {() => number} underruns of the player */
  constructor({ services, words }, underruns) {
    super();
    this.#services = services;
    this.#words = words;
    this.#underruns = underruns;
    words.addEventListener("change", () => this.#show());
  }

  start() {
    this.stop();
    this.#timer = setInterval(() => this.refresh(), EVERY_MS);
    return this.refresh();
  }

  stop() {
    clearInterval(this.#timer);
  }

  async refresh() {
    try {
      this.#health = await this.#services.health();
      byId("status-trouble").hidden = true;
    } catch (error) {
      byId("status-trouble").textContent = inWords(error, this.#words);
      byId("status-trouble").hidden = false;
      return;
    }
    this.#show();
    this.dispatchEvent(new CustomEvent("health", { detail: this.#health }));
  }

  async #show() {
    const words = this.#words;
    byId("services").replaceChildren(...Object.keys(this.#health).map((name) => this.#card(name, this.#health[name])));
    for (const name of ["asr", "tts"]) {
      const banner = byId(`${name}-down`);
      banner.hidden = this.#health[name]?.status !== "down";
      byId(`${name}-tool`).disabled = !banner.hidden;
      banner.textContent = words.of("serviceDown", { command: this.#health[name]?.start });
    }
    this.#tellUnheard(this.#health.s2s);
    const missing = await missingForTalk();
    byId("page-facts").replaceChildren(
      ...facts([
        [words.of("secure"), words.of(window.isSecureContext ? "yes" : "no")],
        [words.of("codec"), words.of(missing ? "no" : "yes")],
        [words.of("underruns"), String(this.#underruns())],
      ]),
    );
  }

  /** Before somebody speaks a language to a recogniser that does not know it. */
  #tellUnheard({ languages = [], better = {} } = {}) {
    const { locale } = this.#words;
    byId("unheard").textContent = better[locale] ?? "";
    byId("unheard").hidden = !better[locale] || !languages.length || languages.includes(locale);
  }

  #card(name, health) {
    const words = this.#words;
    const state = make("span", { className: `state ${health.status}` }, words.of(health.status));
    const down = health.status === "down";
    const sessions =
      health.sessions === undefined ? undefined : words.of("sessionsOf", { sessions: health.sessions, most: health.max_sessions });
    const rows = [
      ["engine", health.engine],
      ["model", health.model],
      ["device", health.device],
      ["recogniser", health.recogniser],
      ["responder", health.responder],
      ["voice", health.voice],
      ["sessions", sessions],
      ["reason", health.reason ?? health.engine_reason],
      ["better", health.better?.[words.locale] ?? health.better?.en],
      ["address", health.url],
    ].filter(([, value]) => value !== undefined && value !== "");
    const list = facts(rows.map(([key, value]) => [words.of(key), String(value)]));
    if (down) list.push(...facts([[words.of("howToStart"), make("code", {}, health.start)]]));
    return make("article", { className: "card service" }, make("h3", {}, words.of(NAMES[name]), state), make("dl", { className: "facts" }, ...list));
  }
}

function facts(rows) {
  return rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
}
