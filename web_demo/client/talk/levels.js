/**
 * The last seconds of both sides as one picture: the user's level above the line, the assistant's below it. What the
 * microphone picks up while the server does not hear it is drawn faintly.
 */

const SPAN_MS = 6000;
const BAR_PX = 3;
const GAP_PX = 3;
const QUIET_DB = -55;

export class Levels {
  #canvas;
  #sources;
  #heard;
  #history = []; // [user, assistant, heard], one a column, newest last
  #stepMs = 0;
  #last = 0;
  #frame = null;
  #buffer = new Float32Array(2048);

  /**
   * @param {HTMLCanvasElement} canvas @param {() => (AnalyserNode|null)[]} sources of the user and the assistant
   * @param {() => boolean} heard whether the server hears the user
   */
  constructor(canvas, sources, heard) {
    this.#canvas = canvas;
    this.#sources = sources;
    this.#heard = heard;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  start() {
    if (this.#frame === null) this.#frame = requestAnimationFrame((now) => this.#tick(now));
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#frame = null;
    this.#history = [];
    this.#draw();
  }

  #tick(now) {
    this.#frame = requestAnimationFrame((next) => this.#tick(next));
    if (now - this.#last < this.#stepMs) return;
    this.#last = now;
    this.#history.push([...this.#sources().map((source) => this.#level(source)), this.#heard()]);
    this.#draw();
  }

  /** 0 (silence) to 1, of the last 40 ms or so. */
  #level(analyser) {
    if (!analyser) return 0;
    analyser.getFloatTimeDomainData(this.#buffer);
    const power = this.#buffer.reduce((sum, sample) => sum + sample * sample, 0) / this.#buffer.length;
    const db = 10 * Math.log10(power + 1e-10);
    return Math.max(0, Math.min(1, 1 - db / QUIET_DB));
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (!width) return;
    const scale = devicePixelRatio;
    this.#canvas.width = width * scale;
    this.#canvas.height = height * scale;
    const columns = Math.floor(width / (BAR_PX + GAP_PX));
    this.#stepMs = SPAN_MS / columns;
    this.#history = this.#history.slice(-columns);
    const style = getComputedStyle(this.#canvas.parentElement);
    const pen = this.#canvas.getContext("2d");
    pen.scale(scale, scale);
    const colors = ["--you", "--it", "--line"].map((name) => this.#color(style, name));
    for (let column = 0; column < columns; column += 1) {
      const levels = this.#history[this.#history.length - columns + column] ?? [0, 0, false];
      this.#bar(pen, column * (BAR_PX + GAP_PX), height / 2, levels, colors);
    }
  }

  #bar(pen, x, middle, [user, assistant, heard], [you, it, line]) {
    const draw = (color, top, length) => {
      pen.fillStyle = color;
      pen.beginPath();
      pen.roundRect(x, top, BAR_PX, length, BAR_PX / 2);
      pen.fill();
    };
    const room = middle - 3;
    if (user > 0.02) draw(heard ? you : line, middle - 1.5 - user * room, user * room);
    if (assistant > 0.02) draw(it, middle + 1.5, assistant * room);
    if (user <= 0.02 && assistant <= 0.02) draw(line, middle - 1.5, 3);
  }

  /** Canvas does not resolve `light-dark()`: let an element do it. */
  #color(style, name) {
    this.#canvas.style.color = style.getPropertyValue(name);
    return getComputedStyle(this.#canvas).color;
  }
}
