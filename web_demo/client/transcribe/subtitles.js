/** Subtitles: as files, and cut from what was said live. Pure. */

const LINE_CHARS = [84, 32]; // two lines of a subtitle, in scripts with spaces and in those without
const WIDE = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]/;

/** @param {{text: string, start: number, end: number}[]} cues as the service cut them, times in seconds */
export function subRip(cues) {
  return cues
    .map(({ text, start, end }, index) => `${index + 1}\n${stamp(start)} --> ${stamp(end)}\n${text.trim()}\n`)
    .join("\n");
}

/** The same as WebVTT. */
export function webVtt(cues) {
  const escaped = (text) => text.trim().replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const blocks = cues.map(({ text, start, end }) => `${stamp(start, ".")} --> ${stamp(end, ".")}\n${escaped(text)}\n`);
  return ["WEBVTT\n", ...blocks].join("\n");
}

/**
 * Utterances, which may be long, as cues. Where the engine gave no times of words, they are taken to be said evenly.
 * @param {{text: string, start: number, end: number, words?: {word: string, start: number, end: number}[]}[]} segments
 */
export function cuesOf(segments) {
  return segments.flatMap((segment) => {
    const words = segment.words?.length > 0 ? segment.words : evenly(segment);
    const wide = WIDE.test(segment.text);
    const cues = [];
    for (const { word, start, end } of words) {
      const last = cues.at(-1);
      const longer = last && (wide ? last.text + word.trim() : `${last.text} ${word.trim()}`);
      if (last && longer.length <= LINE_CHARS[Number(wide)]) Object.assign(last, { text: longer, end });
      else cues.push({ text: word.trim(), start, end });
    }
    return cues;
  });
}

function evenly({ text, start, end }) {
  const words = WIDE.test(text) ? [...text.replace(/\s+/g, "")] : text.split(/\s+/).filter(Boolean);
  const whole = words.reduce((sum, word) => sum + word.length, 0);
  let said = 0;
  return words.map((word) => {
    const at = start + ((end - start) * said) / whole;
    said += word.length;
    return { word, start: at, end: start + ((end - start) * said) / whole };
  });
}

/** 01:02:03,004 */
function stamp(seconds, point = ",") {
  const ms = Math.round(seconds * 1000);
  const two = (value) => String(value).padStart(2, "0");
  const clock = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60].map((value) => two(Math.floor(value)));
  return `${clock.join(":")}${point}${String(ms % 1000).padStart(3, "0")}`;
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
