/** Who answers in Talk, said before anybody speaks: the engine, what it understands, and what it cannot. Language and voice to choose. */

import { fillLanguages, fillVoices } from "../choices.js";
import { byId } from "../dom.js";
import { languageName } from "../names.js";

const CHOICES = ["spokenLanguage", "voice"]; // on the empty page of Talk, and among the settings
const FEW = 4; // languages that are named one by one

export class EngineView {
  #settings;
  #words;
  #health = null;

  constructor({ settings, words }) {
    this.#settings = settings;
    this.#words = words;
    for (const name of CHOICES) {
      for (const select of selects(name)) select.onchange = () => settings.set(name, select.value);
    }
    words.addEventListener("change", () => this.#draw());
    settings.addEventListener("change", ({ detail }) => [...CHOICES, "server"].includes(detail) && this.#draw());
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
    this.#tellUnheard(health ?? {});
    byId("presets-empty").hidden = !instructions;
    byId("instructions").hidden = !instructions;
    byId("talk-banner").hidden = !status || status === "healthy";
    byId("talk-banner").textContent = this.#words.of(status === "unhealthy" ? "serviceUnhealthy" : "serviceLoading", { reason: health?.reason ?? "" });
    const [languageSelects, voiceSelects] = CHOICES.map(selects);
    for (const select of languageSelects) {
      select.parentElement.hidden = languages.length < 2;
      fillLanguages(select, languages, this.#words, this.#words.of("languageAuto"));
      choose(select, this.#settings.get("spokenLanguage"));
    }
    for (const select of voiceSelects) {
      select.parentElement.hidden = voices.length === 0;
      fillVoices(select, voices, this.#words, this.#words.of("engineDefault"));
      choose(select, this.#settings.get("voice"));
    }
  }

  /** Before somebody speaks a language to a recogniser that does not know it. */
  #tellUnheard({ languages = [], better = {} }) {
    const { locale } = this.#words;
    byId("unheard").textContent = better[locale] ?? "";
    byId("unheard").hidden = !better[locale] || !languages.length || languages.includes(locale);
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

function selects(name) {
  return document.querySelectorAll(`select[data-choice="${name}"]`);
}

/** What another engine had is no choice here; it is kept, for when that is back. */
function choose(select, value) {
  select.value = value;
  if (select.selectedIndex < 0) select.value = "";
}
