/** Ready-made characters: buttons that set the instructions for the assistant. */

import { make } from "../dom.js";

const NAMES = ["presetAssistant", "presetTutor", "presetStory", "presetInterview"];

/** @param {HTMLElement} place @param {{hints: boolean}} options whether each says what it is like */
export function showPresets(place, settings, words, { hints }) {
  const draw = () => {
    place.replaceChildren(
      ...NAMES.map((name) => {
        const prompt = words.of(`${name}Prompt`);
        const chosen = settings.get("prompt") === prompt;
        const label = hints ? [make("strong", {}, words.of(name)), make("span", {}, words.of(`${name}Hint`))] : [words.of(name)];
        const button = make("button", { type: "button", "aria-pressed": String(chosen), "data-preset": name }, ...label);
        button.onclick = () => {
          settings.set("prompt", chosen ? "" : prompt);
          place.querySelector(`[data-preset="${name}"]`).focus(); // drawing anew took the focus away
        };
        return button;
      }),
    );
  };
  words.addEventListener("change", draw);
  settings.addEventListener("change", ({ detail }) => detail === "prompt" && draw());
  draw();
}
