/** Lists of languages and voices to choose from. */

import { make } from "./dom.js";
import { languageOptions, voiceGroups } from "./names.js";

/** @param {HTMLSelectElement} select @param {readonly string[]} tags @param {string} unset what to call no choice */
export function fillLanguages(select, tags, words, unset) {
  const { near, others } = languageOptions(tags, words.locale, navigator.languages);
  const groups = near.length > 0 && others.length > 0 ? [{ label: words.of("yourLanguages"), options: near }, { label: words.of("otherLanguages"), options: others }] : [{ options: [...near, ...others] }];
  fill(select, unset, groups);
}

/** @param {{name: string, kind?: string, language?: string}[]} voices @param {string|null} unset null: one must be chosen */
export function fillVoices(select, voices, words, unset) {
  fill(select, unset, voiceGroups(voices, words, navigator.languages));
}

/** Keeps the choice where it is still there, and draws nothing anew that is the same: an open list would close. */
function fill(select, unset, groups) {
  const drawn = JSON.stringify([unset, groups]);
  if (select.dataset.drawn === drawn) return;
  const chosen = select.value;
  const toOptions = (options) => options.map(({ value, name }) => make("option", { value }, name));
  select.replaceChildren(
    ...(unset === null ? [] : [make("option", { value: "" }, unset)]),
    ...groups.flatMap(({ label, options }) => (label ? [make("optgroup", { label }, ...toOptions(options))] : toOptions(options))),
  );
  select.dataset.drawn = drawn;
  if ([...select.options].some(({ value }) => value === chosen)) select.value = chosen;
}
