/** Subtitles as a SubRip file. Pure. */

/** @param {{text: string, start: number, end: number}[]} cues as the service cut them, times in seconds */
export function subRip(cues) {
  return cues
    .map(({ text, start, end }, index) => `${index + 1}\n${stamp(start)} --> ${stamp(end)}\n${text.trim()}\n`)
    .join("\n");
}

/** 01:02:03,004 */
function stamp(seconds) {
  const ms = Math.round(seconds * 1000);
  const two = (value) => String(value).padStart(2, "0");
  const clock = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60].map((value) => two(Math.floor(value)));
  return `${clock.join(":")},${String(ms % 1000).padStart(3, "0")}`;
}

/** 1:02 or 1:02:03, for people. */
export function shortTime(seconds) {
  const whole = Math.floor(seconds);
  const two = (value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** "4.2 s", or "1:02" from a minute on. */
export function lengthInWords(seconds, words) {
  return seconds < 60 ? words.of("seconds", { seconds: seconds.toFixed(1) }) : shortTime(seconds);
}
