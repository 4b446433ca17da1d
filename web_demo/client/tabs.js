/** The tabs, as the WAI-ARIA pattern has them: one stop for the tabulator, arrows between them. The address keeps the choice. */

import { byId } from "./dom.js";

const NAMES = ["talk", "transcribe", "speak", "status"];

/** @param {(name: string) => void} onShow told each time another tab is shown, and for the first one */
export function setUpTabs(onShow) {
  const tabs = NAMES.map((name) => byId(`tab-${name}`));
  const show = (chosen) => {
    NAMES.forEach((name, index) => {
      const selected = name === chosen;
      tabs[index].setAttribute("aria-selected", String(selected));
      tabs[index].tabIndex = selected ? 0 : -1;
      byId(`view-${name}`).hidden = !selected;
    });
    onShow(chosen);
  };
  const move = (event) => {
    const from = tabs.indexOf(event.currentTarget);
    const to = { ArrowRight: from + 1, ArrowLeft: from - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tab = tabs.at(to % tabs.length);
    tab.focus();
    tab.click();
  };
  tabs.forEach((tab, index) => {
    tab.onclick = () => history.replaceState(null, "", `#${NAMES[index]}`) ?? show(NAMES[index]);
    tab.onkeydown = move;
  });
  const asked = () => (NAMES.includes(location.hash.slice(1)) ? location.hash.slice(1) : NAMES[0]);
  addEventListener("hashchange", () => show(asked()));
  show(asked());
}
