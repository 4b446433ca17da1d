/** Plays mono sound as it arrives. Events: "began" (a sound is audible), "ended" (nothing is left), "played" (detail: what). */

export class Player extends EventTarget {
  underruns = 0;
  #node;

  /** @param {AudioContext} context whose rate the sound has */
  static async create(context) {
    await context.audioWorklet.addModule(new URL("playback-worklet.js", import.meta.url));
    return new Player(context);
  }

  constructor(context) {
    super();
    this.#node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.analyser = context.createAnalyser();
    this.#node.connect(this.analyser).connect(context.destination);
    this.#node.port.onmessage = ({ data }) => {
      this.underruns = data.underruns ?? this.underruns;
      this.dispatchEvent(new CustomEvent(data.type, { detail: data }));
    };
  }

  /** @param {Float32Array} samples given away */
  push(samples) {
    this.#node.port.postMessage({ type: "push", samples }, [samples.buffer]);
  }

  end() {
    this.#node.port.postMessage({ type: "end" });
  }

  flush() {
    this.#node.port.postMessage({ type: "flush" });
  }
}
