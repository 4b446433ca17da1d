/** Who answers in Talk, said before anybody speaks: the engine, what it understands, and what it cannot. Language and voice to choose. */

import { fillLanguages, fillVoices } from "../choices.js";
import { byId } from "../dom.js";
import { languageName } from "../names.js";

const FEW = 4; // languages that are named one by one

export class EngineView {
  #settings;
  #words;
  #health = null;

  constructor({ settings, words }) {
    this.#settings = settings;
    this.#words = words;
    for (const name of ["spokenLanguage", "voice"]) {
      byId(`talk-${name}`).onchange = ({ target }) => settings.set(name, target.value);
    }
    words.addEventListener("change", () => this.#draw());
    settings.addEventListener("change", ({ detail }) => detail === "server" && this.#draw());
  }

  /** @param {object} health of the service */
  setHealth(health) {
    this.#health = health;
    this.#draw();
  }

  #draw() {
    const health = this.#settings.get("server") ? null : this.#health; // what another server has is not known
    const { languages = [], voices = [], instructions = true, status } = health ?? {};
    byId("engine-line").textContent = health ? this.#line(health) : "";
    byId("field-spokenLanguage").hidden = languages.length === 1 || !health;
    byId("field-voice").hidden = voices.length === 0;
    byId("presets-empty").hidden = !instructions;
    byId("instructions").hidden = !instructions;
    byId("talk-banner").hidden = !status || status === "healthy";
    byId("talk-banner").textContent = this.#words.of(status === "unhealthy" ? "serviceUnhealthy" : "serviceLoading", { reason: health?.reason ?? "" });
    fillLanguages(byId("talk-spokenLanguage"), languages, this.#words, this.#words.of("languageAuto"));
    fillVoices(byId("talk-voice"), voices, this.#words, this.#words.of("engineDefault"));
    for (const name of ["spokenLanguage", "voice"]) byId(`talk-${name}`).value = this.#settings.get(name);
  }

  #line({ engine, model, recogniser, responder, voice, languages = [], instructions = true }) {
    const words = this.#words;
    const parts = recogniser ? [modelOf(recogniser), responder === "built-in" ? words.of("readyAnswers") : responder, modelOf(voice)] : [model ?? engine];
    const said = [words.of("answersBy", { parts: parts.filter(Boolean).join(" → ") })];
    if (languages.length > FEW) said.push(words.of("understandsMany", { count: languages.length }));
    else if (languages.length > 0) said.push(words.of("understands", { languages: languages.map((tag) => languageName(tag, words.locale)).join(words.of("comma")) }));
    if (!instructions) said.push(words.of("noInstructions"));
    return said.join(" ");
  }
}

/** Of a part's description: "engine: model (device)". */
function modelOf(part) {
  return /^[^:]+: (.+) \([^()]*\)$/.exec(part)?.[1] ?? part;
}
