/** The page, put together. */

import { byId } from "./dom.js";
import { Services } from "./net/services.js";
import { showNotice } from "./notice.js";
import { SettingsView } from "./settings-view.js";
import { Settings } from "./settings.js";
import { SpeakView } from "./speak/view.js";
import { StatusView } from "./status/view.js";
import { setUpTabs } from "./tabs.js";
import { EngineView } from "./talk/engine.js";
import { TalkView } from "./talk/view.js";
import { TranscribeView } from "./transcribe/view.js";
import { Words } from "./words.js";

const settings = new Settings(localStorage);
const words = new Words();
const services = new Services(() => settings.get("key"), () => words.locale);
const parts = { settings, words, services };

words.addEventListener("change", () => {
  document.documentElement.lang = words.locale;
  words.fill(document);
});
words.choose(settings.get("locale"), navigator.languages);
settings.addEventListener("change", ({ detail }) => {
  if (detail === "locale") words.choose(settings.get("locale"), navigator.languages);
  if (detail === "theme") document.documentElement.dataset.theme = settings.get("theme");
  if (detail === "key") status.refresh();
});

const talk = new TalkView(parts);
const engine = new EngineView(parts);
const transcribe = new TranscribeView(parts);
const speak = new SpeakView(parts);
const status = new StatusView(parts, () => talk.underruns);
const settingsView = new SettingsView(parts);
showNotice(parts, () => settingsView.open("set-key"));
status.addEventListener("health", ({ detail }) => {
  engine.setHealth(detail.s2s);
  transcribe.setHealth(detail.asr);
  speak.setHealth(detail.tts);
});
setUpTabs((name) => status.watch(name));
byId("stuck").remove();
document.documentElement.dataset.ready = ""; // for whoever waits for the page
