/** What keeps the page from its server, said once, above whatever is open. */

import { byId, make } from "./dom.js";

const CURED_IN_SETTINGS = ["keyMissing", "keyWrong"];

/** @param {{services: import("./net/services.js").Services}} parts @param {() => void} openSettings where a key is entered */
export function showNotice({ services, words }, openSettings) {
  const place = byId("notice");
  const show = () => {
    const { trouble } = services;
    place.hidden = !trouble;
    place.replaceChildren();
    if (!trouble) return;
    place.append(make("span", {}, words.of(trouble, { host: location.hostname, origin: location.origin })));
    if (CURED_IN_SETTINGS.includes(trouble)) place.append(make("button", { className: "small", onclick: openSettings }, words.of("settings")));
  };
  services.addEventListener("trouble", show);
  words.addEventListener("change", show);
}
