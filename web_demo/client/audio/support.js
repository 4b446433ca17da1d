/** What this browser lacks for talking, as a key of the page's words that says what to do; null when nothing. */

import { DECODER_CONFIG, ENCODER_CONFIG } from "./codec.js";

export async function missingForTalk() {
  if (!window.isSecureContext) return "insecureContext";
  if (!navigator.mediaDevices?.getUserMedia) return "noMicrophoneApi";
  if (!("AudioWorkletNode" in window)) return "oldBrowser";
  if (!("AudioEncoder" in window) || !("AudioDecoder" in window)) return "noWebCodecs";
  const [encoder, decoder] = await Promise.all([
    AudioEncoder.isConfigSupported(ENCODER_CONFIG),
    AudioDecoder.isConfigSupported(DECODER_CONFIG),
  ]);
  return encoder.supported && decoder.supported ? null : "noWebCodecs";
}
