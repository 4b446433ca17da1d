/** Languages and voices by their names in the reader's language, in groups. Pure. */

/** What the names of CosyVoice's own speakers say: language and whose voice. */
const CLASSIC = {
  中文女: ["zh", "voiceFemale"],
  中文男: ["zh", "voiceMale"],
  英文女: ["en", "voiceFemale"],
  英文男: ["en", "voiceMale"],
  日语男: ["ja", "voiceMale"],
  粤语女: ["yue", "voiceFemale"],
  韩语女: ["ko", "voiceFemale"],
};
const OWN_GROUP = 3; // voices that make a group of their own of a language

/** @param {string} tag BCP 47, or what a voice calls itself @returns {string} the tag itself where nobody knows it */
export function languageName(tag, locale) {
  const [, known, rest] = /^(.*?(?:-[a-z]{4}(?=-|$))?(?:-[a-z]{2}(?=-|$))?)((?:-[a-z0-9]+)*)$/i.exec(tag) ?? [tag, tag, ""];
  try {
    const name = new Intl.DisplayNames([locale], { type: "language", languageDisplay: "standard" }).of(known);
    if (name === known) return tag;
    const variant = rest.replace(/^-(x-)?/, "");
    return name.charAt(0).toLocaleUpperCase(locale) + name.slice(1) + (variant && ` · ${variant}`);
  } catch (error) {
    if (error instanceof RangeError) return tag;
    throw error;
  }
}

/**
 * @param {readonly string[]} tags @param {string} locale of the reader @param {readonly string[]} preferred languages of the reader
 * @returns {{near: Option[], others: Option[]}} sorted by name; `near`: those of the reader
 * @typedef {{value: string, name: string}} Option
 */
export function languageOptions(tags, locale, preferred) {
  const near = [locale, ...preferred.map(primary), "en", "zh"];
  const options = tags.map((value) => ({ value, name: languageName(value, locale) }));
  const [here, others] = [true, false].map((is) => options.filter(({ value }) => near.includes(primary(value)) === is));
  return { near: here.sort(byRank(near)), others: others.sort(byName(locale)) };
}

/**
 * @param {{name: string, kind?: string, language?: string}[]} voices @param {import("./words.js").Words} words
 * @param {readonly string[]} preferred languages of the reader
 * @returns {{label: string, options: Option[]}[]}
 */
export function voiceGroups(voices, words, preferred) {
  const { locale } = words;
  const near = [locale, ...preferred.map(primary), "en", "zh"];
  const added = voices.filter(({ kind }) => kind === "added");
  const byLanguage = new Map();
  for (const voice of voices.filter(({ kind }) => kind !== "added")) {
    const language = languageOf(voice);
    byLanguage.set(language, [...(byLanguage.get(language) ?? []), voice]);
  }
  const groups = [];
  const rest = [];
  for (const [language, members] of byLanguage) {
    const own = language && (members.length >= OWN_GROUP || near.includes(language) || members.some(({ name }) => name in CLASSIC));
    if (own) groups.push({ language, label: languageName(language, locale), options: members.map((one) => option(one, words, false)) });
    else rest.push(...members.map((one) => option(one, words, true)));
  }
  groups.sort((a, b) => rank(near, a.language) - rank(near, b.language) || byName(locale)({ name: a.label }, { name: b.label }));
  const named = groups.map(({ label, options }) => ({ label, options }));
  if (rest.length > 0) named.push({ label: words.of("otherVoices"), options: rest.sort(byName(locale)) });
  if (added.length > 0) named.unshift({ label: words.of("addedVoices"), options: added.map(({ name }) => ({ value: name, name })) });
  return named;
}

/** @param {boolean} whole with its language */
function option(voice, words, whole) {
  const { name } = voice;
  const language = languageOf(voice);
  const classic = CLASSIC[name];
  if (classic) return { value: name, name: `${languageName(classic[0], words.locale)} · ${words.of(classic[1])}` };
  const [tag, variant] = name.split("+");
  const named = isTagOf(tag, language) ? languageName(tag, words.locale) : whole && language ? `${languageName(language, words.locale)} · ${tag}` : tag;
  return { value: name, name: variant ? `${named} · ${variant}` : named };
}

/** Whether a voice is called by its language alone, as espeak-ng's are. */
function isTagOf(name, language) {
  return Boolean(language) && (name === language || name.startsWith(`${language}-`) || /^[a-z]{3}(-|$)/.test(name));
}

function languageOf({ name, language }) {
  const tag = name.split("+")[0];
  return language ?? CLASSIC[name]?.[0] ?? (/^[a-z]{2,3}(-|$)/.test(tag) && languageName(tag, "en") !== tag ? primary(tag) : "");
}

function primary(tag) {
  return tag.split("-")[0].toLowerCase();
}

function rank(near, language) {
  const at = near.indexOf(language);
  return at < 0 ? near.length : at;
}

function byRank(near) {
  return (a, b) => near.indexOf(primary(a.value)) - near.indexOf(primary(b.value));
}

function byName(locale) {
  const { compare } = new Intl.Collator(locale);
  return (a, b) => compare(a.name, b.name);
}
