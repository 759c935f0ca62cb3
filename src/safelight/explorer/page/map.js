/** The map: points, what is marked among them, and which of them is meant. */

import { Camera, isInside, normalized } from "./camera.js";
import { blend, nearest } from "./codes.js";
import { isStill } from "./dom.js";
import { placeOf, widthOf } from "./placing.js";
import { makeRenderer, withPixels } from "./renderers.js";

const REACH = 12; // pixels from a point that still mean it
const CHANGE = 700; // milliseconds from one map to another
const NEAR = 8; // points that a place between them is decoded from
const DIM = 0x24000000; // how much is seen of points that are not chosen, while others are
const NAMED = 40; // groups, of more than which no name can be read on the map
const EDGE = 10; // pixels within which a point is not yet in view

export class LatentMap {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLCanvasElement} overlay
   * @param {import("./contents.js").Contents} contents
   */
  constructor(canvas, overlay, contents) {
    this.canvas = canvas;
    this.overlay = overlay;
    this.contents = contents;
    this.renderer = makeRenderer(canvas);
    canvas.addEventListener("webglcontextlost", () => this.redraw());
    this.camera = new Camera();
    this.maps = contents.projections.map(normalized);
    /** @type {number[]} how wide a neighbourhood of each is */
    this.widths = [];
    this.chosen = 0;
    this.places = this.maps[0].slice();
    this.depth = contents.projections[0].dims === 3 ? 1 : 0;
    this.seen = new Float32Array(this.places.length);
    /** @type {import("./palette.js").Colouring} */
    this.colouring = { colours: new Uint32Array(contents.header.n), legend: [], groups: new Int32Array(contents.header.n), isAmount: true };
    /** @type {number[]} */
    this.selection = [];
    /** @type {Iterable<number>} */
    this.labelled = [];
    this.picked = -1;
    this.hovered = -1;
    /** @type {number[][]} */
    this.lasso = [];
    /** @type {{name: string, place: ArrayLike<number>, picture?: HTMLCanvasElement}[]} */
    this.marks = [];
    /** @type {ArrayLike<number>[]} places of a walk */
    this.path = [];
    this.frame = 0;
    new ResizeObserver(() => this.fit()).observe(overlay);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  get isSpace() {
    return this.contents.projections[this.chosen].dims === 3;
  }

  /** Take the size that the page gives. */
  fit() {
    const ratio = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.overlay;
    for (const canvas of [this.canvas, this.overlay]) {
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
    }
    this.ratio = ratio;
    this.camera.width = this.canvas.width;
    this.camera.height = this.canvas.height;
    this.draw();
  }

  /**
   * Show another map, gliding there.
   * @param {number} to
   */
  choose(to) {
    this.chosen = to;
    this.camera.home();
    const [from, target, depth] = [this.places.slice(), this.maps[to], this.depth];
    const deep = this.isSpace ? 1 : 0;
    const begin = performance.now();
    const step = () => {
      const t = isStill() ? 1 : Math.min(1, (performance.now() - begin) / CHANGE);
      const eased = t * t * (3 - 2 * t);
      for (let i = 0; i < from.length; i++) this.places[i] = from[i] + (target[i] - from[i]) * eased;
      this.depth = depth + (deep - depth) * eased;
      this.draw();
      if (t < 1 && this.chosen === to) requestAnimationFrame(step);
    };
    step();
  }

  /** Draw before the next frame. */
  redraw() {
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  /** Draw now. */
  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (this.renderer.isLost()) {
      const other = /** @type {HTMLCanvasElement} */ (this.canvas.cloneNode());
      this.canvas.replaceWith(other);
      this.canvas = other;
      this.renderer = withPixels(other);
    }
    this.camera.project(this.places, this.depth, this.seen);
    const ratio = this.ratio ?? 1;
    const radius = Math.max(1, Math.min(5, (1.5 + 40 / Math.sqrt(this.contents.header.n)) * Math.sqrt(this.camera.zoom)));
    this.renderer.draw(this.seen, this.tones(), radius * ratio);
    this.drawMarks(ratio);
  }

  /** The points' colours; where some are chosen, the rest are dim. */
  tones() {
    const { colours } = this.colouring;
    if (!this.selection.length) return colours;
    const tones = colours.map((colour) => ((colour & 0xffffff) | DIM) >>> 0);
    for (const at of this.selection) tones[at] = colours[at];
    return tones;
  }

  /**
   * Rings, names and paths over the points.
   * @param {number} ratio
   */
  drawMarks(ratio) {
    const context = /** @type {CanvasRenderingContext2D} */ (this.overlay.getContext("2d"));
    const style = getComputedStyle(this.overlay);
    const [ink, page, accent] = ["--ink", "--panel", "--accent"].map((name) => style.getPropertyValue(name));
    context.clearRect(0, 0, this.overlay.width, this.overlay.height);
    context.save();
    context.scale(ratio, ratio);
    const at = (/** @type {number} */ i) => [this.seen[3 * i] / ratio, this.seen[3 * i + 1] / ratio];
    const ring = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ radius, /** @type {string} */ tone) => {
      for (const [width, colour] of /** @type {const} */ ([[4, page], [2, tone]])) {
        context.beginPath();
        context.arc(x, y, radius, 0, 7);
        Object.assign(context, { lineWidth: width, strokeStyle: colour }).stroke();
      }
    };
    context.beginPath();
    for (const i of this.labelled) {
      const [x, y] = at(i);
      context.rect(x - 3.5, y - 3.5, 7, 7);
    }
    Object.assign(context, { lineWidth: 1.5, strokeStyle: ink }).stroke();
    context.font = "600 14px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    const say = (/** @type {string} */ text, /** @type {number} */ x, /** @type {number} */ y) => {
      Object.assign(context, { lineWidth: 4, strokeStyle: page, lineJoin: "round" }).strokeText(text, x, y);
      Object.assign(context, { fillStyle: ink }).fillText(text, x, y);
    };
    for (const { name, x, y } of this.groupNames()) say(name, x / ratio, y / ratio);
    for (const [line, isClosed] of /** @type {const} */ ([
      [this.lasso, true],
      [this.path.map((place) => this.pixelOf(place)), false],
    ])) {
      context.beginPath();
      for (const [x, y] of line) context.lineTo(x, y);
      if (isClosed) context.closePath();
      Object.assign(context, { lineWidth: 2, strokeStyle: accent, lineJoin: "round" }).stroke();
    }
    if (this.hovered >= 0) ring(...xy(at(this.hovered)), 6, ink);
    if (this.picked >= 0) ring(...xy(at(this.picked)), 8, accent);
    for (const { name, place, picture } of this.marks) {
      const [x, y] = this.pixelOf(place);
      if (picture) {
        context.imageSmoothingEnabled = false;
        context.drawImage(picture, x - 20, y - 20, 40, 40);
        Object.assign(context, { lineWidth: 2, strokeStyle: accent }).strokeRect(x - 20, y - 20, 40, 40);
      } else {
        ring(x, y, 11, accent);
        say(name, x, y);
      }
    }
    context.restore();
  }

  /** Groups' names where they lie, in pixels: at the median of each, so that outliers do not move them. */
  groupNames() {
    const { groups, legend, isAmount } = this.colouring;
    if (isAmount || legend.length > NAMED || this.camera.zoom > 8) return [];
    return legend.flatMap(({ name }, group) => {
      /** @type {number[]} */
      const mine = [];
      for (let i = 0; i < groups.length && mine.length < 500; i++) if (groups[i] === group) mine.push(i);
      if (mine.length < 5 || name === "none") return [];
      const middle = (/** @type {number} */ axis) =>
        mine.map((i) => this.seen[3 * i + axis]).sort((a, b) => a - b)[mine.length >> 1];
      return [{ name: name.slice(0, 24), x: middle(0), y: middle(1) }];
    });
  }

  /**
   * The point that a place on the screen means, or -1.
   * @param {number} x CSS pixels
   * @param {number} y
   */
  pointAt(x, y) {
    const ratio = this.ratio ?? 1;
    let best = -1;
    let nearestSquare = (REACH * ratio) ** 2;
    for (let i = 0; i < this.seen.length; i += 3) {
      const square = (this.seen[i] - x * ratio) ** 2 + (this.seen[i + 1] - y * ratio) ** 2;
      if (square < nearestSquare) [best, nearestSquare] = [i / 3, square];
    }
    return best;
  }

  /** The points inside the lasso. */
  lassoed() {
    const ratio = this.ratio ?? 1;
    const found = [];
    for (let i = 0; i < this.seen.length; i += 3) {
      if (isInside(this.lasso, this.seen[i] / ratio, this.seen[i + 1] / ratio)) found.push(i / 3);
    }
    return found;
  }

  /**
   * The code at a place between points: the mean of the codes nearby. Only a plane has such places.
   * @param {number} x CSS pixels
   * @param {number} y
   */
  codeAt(x, y) {
    const ratio = this.ratio ?? 1;
    const [u, v] = this.camera.unproject(x * ratio, y * ratio);
    const near = nearest(this.places, 3, [u, v, 0], NEAR);
    return blend(this.contents.codes, this.contents.header.latent, near);
  }

  /**
   * Where a code would lie on the map.
   * @param {Float32Array} code
   * @param {number} [except] a point that does not count
   */
  placeOf(code, except) {
    const map = this.maps[this.chosen];
    return placeOf(this.contents, map, (this.widths[this.chosen] ??= widthOf(map)), code, except);
  }

  /**
   * @param {ArrayLike<number>} place on the map
   * @returns {number[]} CSS pixels
   */
  pixelOf(place) {
    const seen = new Float32Array(3);
    this.camera.project(Float32Array.from(place), this.depth, seen);
    return [seen[0] / (this.ratio ?? 1), seen[1] / (this.ratio ?? 1)];
  }

  /**
   * Move the map until a point is in view.
   * @param {number} at
   */
  bring(at) {
    if (at < 0) return;
    const ratio = this.ratio ?? 1;
    const { width, height } = this.camera;
    this.camera.project(this.places, this.depth, this.seen);
    const [x, y] = [this.seen[3 * at], this.seen[3 * at + 1]];
    const edge = Math.min(EDGE * ratio, width / 4, height / 4);
    const [dx, dy] = [Math.max(edge, Math.min(width - edge, x)) - x, Math.max(edge, Math.min(height - edge, y)) - y];
    if (dx || dy) this.camera.drag(dx, dy, false);
  }

  /**
   * The neighbouring point in a direction, or the same where there is none.
   * @param {number} from
   * @param {number} dx of the screen
   * @param {number} dy
   */
  neighbour(from, dx, dy) {
    let [best, least] = [from, Infinity];
    for (let i = 0; i < this.seen.length; i += 3) {
      const [x, y] = [this.seen[i] - this.seen[3 * from], this.seen[i + 1] - this.seen[3 * from + 1]];
      const along = x * dx + y * dy;
      const aside = Math.abs(x * dy - y * dx);
      if (along > 0.5 && aside <= along && along + 2 * aside < least) [best, least] = [i / 3, along + 2 * aside];
    }
    return best;
  }
}

/**
 * @param {number[]} pair
 * @returns {[number, number]}
 */
function xy([x, y]) {
  return [x, y];
}
