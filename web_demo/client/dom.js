/** The little that the views share. */

/** The element with an id; its absence is a defect of the page. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** A new element. `properties` are assigned; `data-…` and `aria-…` become attributes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** One of the symbols in index.html. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.classList.add("icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Hands a file to the user. */
export function save(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Copies, and says so on the button for a moment. */
export async function copyFrom(button, text, words) {
  await navigator.clipboard.writeText(text);
  const label = button.querySelector("[data-words]") ?? button;
  label.textContent = words.of("copied");
  setTimeout(() => (label.textContent = words.of(label.dataset.words ?? "copy")), 1500);
}

/** `prefix-20260108-0930` */
export function dated(prefix) {
  const now = new Date();
  const two = (value) => String(value).padStart(2, "0");
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  return `${prefix}-${day}-${two(now.getHours())}${two(now.getMinutes())}`;
}

/** What a failed call says, in the page's language where it has words for it. */
export function inWords(error, words) {
  return words.has(error.code ?? "") ? words.of(error.code) : error.message;
}

/** Says in its place what went wrong; null: nothing did. What is said above all of the page is not said again. */
export function showTrouble(place, error, words) {
  place.hidden = !error || Boolean(error.everywhere);
  place.textContent = place.hidden ? "" : inWords(error, words);
}
