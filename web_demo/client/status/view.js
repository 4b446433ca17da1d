/** Status: how the three services are, asked again every few seconds while somebody looks and it matters. */

import { hasOpus } from "../audio/support.js";
import { byId, make, showTrouble } from "../dom.js";

const EVERY_MS = 4000;
const NAMES = { s2s: "serviceS2s", asr: "serviceAsr", tts: "serviceTts" };

const BANNERS = { down: "serviceDown", loading: "serviceLoading", unhealthy: "serviceUnhealthy" };

export class StatusView extends EventTarget {
  #services;
  #words;
  #underruns;
  #health = {};
  #tab = null; // that is shown

  /** Event "health" (detail: what each service says of itself). @param {() => number} underruns of the player */
  constructor({ services, words }, underruns) {
    super();
    this.#services = services;
    this.#words = words;
    this.#underruns = underruns;
    words.addEventListener("change", () => this.refresh()); // the services' own words too
    setInterval(() => this.#matters && this.refresh(), EVERY_MS);
  }

  /** @param {string} tab that is shown now */
  watch(tab) {
    this.#tab = tab;
    return this.refresh();
  }

  /** Who talks is told by the line itself how that is. */
  get #matters() {
    if (document.hidden) return false;
    return this.#tab !== "talk" || this.#services.trouble !== null || this.#health.s2s?.status !== "healthy";
  }

  async refresh() {
    try {
      this.#health = await this.#services.health();
      showTrouble(byId("status-trouble"), null, this.#words);
    } catch (error) {
      this.#health = {};
      showTrouble(byId("status-trouble"), error, this.#words);
    }
    this.#show();
    if (this.#health.s2s) this.dispatchEvent(new CustomEvent("health", { detail: this.#health }));
  }

  async #show() {
    const words = this.#words;
    byId("services").replaceChildren(...Object.keys(this.#health).map((name) => this.#card(name, this.#health[name])));
    for (const name of ["asr", "tts"]) {
      const banner = byId(`${name}-down`);
      const { status = "healthy", reason = "", start = "" } = this.#health[name] ?? {};
      banner.hidden = status === "healthy";
      byId(`${name}-tool`).disabled = !banner.hidden;
      banner.textContent = banner.hidden ? "" : words.of(BANNERS[status], { command: start, reason });
    }
    const opus = await hasOpus();
    byId("page-facts").replaceChildren(
      ...facts([
        [words.of("secure"), words.of(window.isSecureContext ? "yes" : "no")],
        [words.of("codec"), words.of(opus ? "yes" : "no")],
        [words.of("underruns"), String(this.#underruns())],
      ]),
    );
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
