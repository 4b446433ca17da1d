/** What this browser can do, and lacks. */

import { DECODER_CONFIG, ENCODER_CONFIG } from "./codec.js";

/** What it lacks for talking, as a key of the page's words that says what to do; null when nothing. */
export function missingForTalk() {
  if (!window.isSecureContext) return "insecureContext";
  if (!navigator.mediaDevices?.getUserMedia) return "noMicrophoneApi";
  return canPlay() ? null : "oldBrowser";
}

/** Whether answers can be heard, microphone or not. */
export function canPlay() {
  return "AudioWorkletNode" in window;
}

/** Whether it has Opus in both directions (WebCodecs); else sound goes as PCM, at ten times the bytes. */
export async function hasOpus() {
  if (!("AudioEncoder" in window) || !("AudioDecoder" in window)) return false;
  const found = await Promise.all([AudioEncoder.isConfigSupported(ENCODER_CONFIG), AudioDecoder.isConfigSupported(DECODER_CONFIG)]);
  return found.every(({ supported }) => supported);
}
