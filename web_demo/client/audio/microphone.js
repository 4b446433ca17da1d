/** The user's microphone as frames of 20 ms. Event: "frame" (detail: {position, samples} at the context's rate). */

/** The microphone cannot be had. `code` is a key of the page's words that says what to do. */
export class MicrophoneError extends Error {
  constructor(code, cause) {
    super(code, { cause });
    this.code = code;
  }
}

const CODES = {
  NotAllowedError: "microphoneRefused",
  SecurityError: "microphoneRefused",
  NotFoundError: "microphoneMissing",
  NotReadableError: "microphoneBusy",
  AbortError: "microphoneBusy",
};

export class Microphone extends EventTarget {
  #stream = null;
  #source = null;
  #node;

  /** Throws MicrophoneError. @param {string} device an id, "" for the usual one */
  static async open(context, device) {
    return Microphone.of(context, await openStream(device));
  }

  /** Of a stream that is open already, and is the microphone's own from here on. */
  static async of(context, stream) {
    await context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
    return new Microphone(context, stream);
  }

  constructor(context, stream) {
    super();
    this.context = context;
    this.analyser = context.createAnalyser();
    this.#node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    this.#node.port.onmessage = ({ data }) => this.dispatchEvent(new CustomEvent("frame", { detail: data }));
    this.#connect(stream);
  }

  /** Go on with another device. Throws MicrophoneError and stays with the old one. */
  async change(device) {
    const stream = await openStream(device);
    this.#disconnect();
    this.#connect(stream);
  }

  close() {
    this.#disconnect();
    this.#node.port.onmessage = null;
  }

  #connect(stream) {
    this.#stream = stream;
    this.#source = this.context.createMediaStreamSource(stream);
    this.#source.connect(this.analyser);
    this.#source.connect(this.#node);
    stream.getTracks().forEach((track) => (track.onended = () => this.dispatchEvent(new Event("lost"))));
  }

  #disconnect() {
    this.#source?.disconnect();
    this.#stream?.getTracks().forEach((track) => {
      track.onended = null;
      track.stop();
    });
  }
}

/** A microphone's stream with the browser's own echo canceller, noise filter and gain. Throws MicrophoneError. */
export async function openStream(device = "") {
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
  if (device) audio.deviceId = { exact: device };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    if (error.name === "OverconstrainedError" && device) return openStream(); // it was unplugged
    throw new MicrophoneError(CODES[error.name] ?? "microphoneMissing", error);
  }
}
