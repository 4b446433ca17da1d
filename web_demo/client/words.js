/** The page's words in the chosen language, put into the document and given out one by one. */

import en from "./words/en.js";
import zh from "./words/zh.js";

const TABLES = { en, zh };

export class Words extends EventTarget {
  /** @type {"en"|"zh"} */
  locale = "en";

  /** @param {"auto"|"en"|"zh"} choice @param {readonly string[]} preferred of the browser */
  choose(choice, preferred) {
    this.locale = choice === "auto" ? localeOf(preferred) : choice;
    this.dispatchEvent(new Event("change"));
  }

  /** @param {string} key @param {Record<string, string|number>} [values] for its {places} */
  of(key, values = {}) {
    const text = TABLES[this.locale][key];
    if (text === undefined) throw new RangeError(`there are no words for ${key}`);
    return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  }

  has(key) {
    return key in TABLES[this.locale];
  }

  /** Fills `data-words` (text), `data-label` (aria-label and tooltip) and `data-placeholder` within `root`. */
  fill(root) {
    for (const element of root.querySelectorAll("[data-words]")) element.textContent = this.of(element.dataset.words);
    for (const element of root.querySelectorAll("[data-label]")) this.label(element, element.dataset.label);
    for (const element of root.querySelectorAll("[data-placeholder]")) {
      element.placeholder = this.of(element.dataset.placeholder);
    }
  }

  /** Names an element that shows no words. */
  label(element, key) {
    element.dataset.label = key;
    element.setAttribute("aria-label", this.of(key));
    if (element.matches("button, a")) element.title = this.of(key);
  }
}

/** The first language that the page speaks. */
export function localeOf(preferred) {
  const known = preferred.map((tag) => tag.split("-")[0].toLowerCase()).find((tag) => tag in TABLES);
  return known ?? "en";
}
