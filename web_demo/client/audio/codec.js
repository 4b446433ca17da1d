/** Opus by WebCodecs: sound to Ogg pages and back, at 48 kHz mono. */

import { OpusStreamReader, OpusStreamWriter, packetSeconds } from "./opus.js";

export const CODEC_RATE = 48_000; // what a decoder gives whatever went in
const FRAME_US = 40_000; // one packet, one page, one message

export const ENCODER_CONFIG = {
  codec: "opus",
  sampleRate: CODEC_RATE,
  numberOfChannels: 1,
  bitrate: 32_000,
  opus: { application: "voip", frameDuration: FRAME_US },
};
export const DECODER_CONFIG = { codec: "opus", sampleRate: CODEC_RATE, numberOfChannels: 1 };

/** One Ogg-Opus stream that goes on for a whole session, with pauses wherever nothing is encoded. */
export class VoiceEncoder {
  #stream = new OpusStreamWriter();
  #headerSent = false;
  #samples = 0;
  #encoder;

  /** @param {(slice: Uint8Array) => void} onPage @param {(error: Error) => void} onError the encoder is unusable then */
  constructor(onPage, onError) {
    this.#encoder = new AudioEncoder({ output: (chunk) => onPage(this.#page(chunk)), error: onError });
    this.#encoder.configure(ENCODER_CONFIG);
  }

  /** @param {Float32Array} samples */
  encode(samples) {
    const timestamp = (this.#samples / CODEC_RATE) * 1e6;
    const data = new AudioData({
      format: "f32",
      sampleRate: CODEC_RATE,
      numberOfChannels: 1,
      numberOfFrames: samples.length,
      timestamp,
      data: samples,
    });
    this.#samples += samples.length;
    this.#encoder.encode(data);
    data.close();
  }

  /** All that was given is out when this resolves. */
  async flush() {
    if (this.#encoder.state === "configured") await this.#encoder.flush();
  }

  close() {
    if (this.#encoder.state !== "closed") this.#encoder.close();
  }

  #page(chunk) {
    const packet = new Uint8Array(chunk.byteLength);
    chunk.copyTo(packet);
    const page = this.#stream.page(packet);
    if (this.#headerSent) return page;
    this.#headerSent = true;
    return new Uint8Array([...this.#stream.header, ...page]);
  }
}

/** The server's stream as sound. No description is configured: the decoder then drops no pre-skip of the speech. */
export class VoiceDecoder {
  #stream = new OpusStreamReader();
  #position = 0; // microseconds
  #dropUntil = 0;
  #decoder;

  /** @param {(samples: Float32Array) => void} onSound @param {(error: Error) => void} onError */
  constructor(onSound, onError) {
    this.#decoder = new AudioDecoder({ output: (data) => this.#output(data, onSound), error: onError });
    this.#decoder.configure(DECODER_CONFIG);
  }

  /** @param {Uint8Array} slice of the stream @param {boolean} wanted false: keep pace, but make no sound of it */
  feed(slice, wanted) {
    for (const data of this.#stream.feed(slice)) {
      if (!wanted) continue;
      const timestamp = this.#position;
      this.#position += packetSeconds(data) * 1e6;
      this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data }));
    }
  }

  /** Nothing that was fed until now will sound. */
  drop() {
    this.#dropUntil = this.#position;
  }

  async flush() {
    if (this.#decoder.state === "configured") await this.#decoder.flush();
  }

  close() {
    if (this.#decoder.state !== "closed") this.#decoder.close();
  }

  #output(data, onSound) {
    if (data.timestamp >= this.#dropUntil) {
      const samples = new Float32Array(data.numberOfFrames);
      data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
      onSound(samples);
    }
    data.close();
  }
}
