/** A WAV answer, heard while it is still being made. */

import { Player } from "../audio/player.js";
import { chunksOf } from "../net/events.js";
import { header, WavStreamReader } from "../audio/wav.js";

/**
 * @param {Response} response whose body is a mono 16-bit WAV
 * @param {AbortSignal} signal stops the sound as well
 * @param {() => void} onSound the first sound is audible
 * @returns {Promise<{file: Blob, seconds: number, played: Promise<void>}>} once all of it has come; `played` once it was heard
 */
export async function playWav(response, signal, onSound) {
  const reader = new WavStreamReader();
  const pieces = [];
  let context = null;
  let player = null;
  const stop = () => player?.flush();
  signal.addEventListener("abort", stop);
  try {
    for await (const bytes of chunksOf(response.body)) {
      const samples = reader.feed(bytes);
      if (samples.length === 0) continue;
      pieces.push(samples.slice());
      if (!player) {
        context = new AudioContext({ sampleRate: reader.rate });
        player = await Player.create(context);
        player.addEventListener("began", onSound, { once: true });
      }
      player.push(samples);
    }
  } catch (error) {
    await context?.close();
    throw error;
  }
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (!player) return { file: null, seconds: 0, played: Promise.resolve() };
  const played = new Promise((resolve) => {
    player.addEventListener("ended", resolve, { once: true });
    signal.addEventListener("abort", resolve, { once: true });
  });
  player.end();
  return {
    file: new Blob([header(length * 2, reader.rate), ...pieces.map(toPcm)], { type: "audio/wav" }),
    seconds: length / reader.rate,
    played: played.then(() => context.close()),
  };
}

function toPcm(samples) {
  return Int16Array.from(samples, (sample) => Math.round(sample * 32768));
}
