/* Runs before the first paint, so that a chosen appearance and language do not flash up late. */
"use strict";
try {
  const kept = JSON.parse(localStorage.getItem("fun-audio-chat.settings") ?? "{}");
  if (kept.theme === "light" || kept.theme === "dark") document.documentElement.dataset.theme = kept.theme;
} catch {
  // unreadable settings: settings.js says so and takes the defaults
}
