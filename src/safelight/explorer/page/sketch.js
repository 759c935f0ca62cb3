/** A canvas to draw on, and how a drawing becomes an image like those of the set. */

import { h } from "./dom.js";

export const SIDE = 224;
const BRUSH = 0.085; // of the side
const STEP = 8; // pixels that an arrow draws
const INK = 0.15; // difference from the background that counts as drawn

/**
 * @param {string} background
 * @param {() => string} colour of the brush
 * @param {() => void} onStroke
 * @param {import("./history.js").History} history
 */
export function sketchPad(background, colour, onStroke, history) {
  const canvas = h("canvas", { className: "sketch", width: SIDE, height: SIDE, tabIndex: 0, role: "application", "aria-label": "your drawing; arrows draw from the middle, with Shift they move without drawing" });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  /** @type {number[] | null} */
  let last = null;
  let before = new ImageData(1, 1);
  const picture = () => context.getImageData(0, 0, SIDE, SIDE);
  const fill = () => {
    context.fillStyle = background;
    context.fillRect(0, 0, SIDE, SIDE);
  };
  /** @param {ImageData} from */
  const remember = (from) => {
    const to = picture();
    const show = (/** @type {ImageData} */ image) => {
      context.putImageData(image, 0, 0);
      onStroke();
    };
    history.add({ words: "the drawing", undo: () => show(from), redo: () => show(to) });
  };
  const clear = () => {
    const from = picture();
    fill();
    remember(from);
  };
  const stroke = (/** @type {PointerEvent} */ event) => {
    if (!last) return;
    const scale = SIDE / canvas.clientWidth;
    const [x, y] = [event.offsetX * scale, event.offsetY * scale];
    Object.assign(context, { lineWidth: BRUSH * SIDE, lineCap: "round", strokeStyle: colour() });
    context.beginPath();
    context.moveTo(last[0], last[1]);
    context.lineTo(x, y);
    context.stroke();
    last = [x, y];
    onStroke();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const scale = SIDE / canvas.clientWidth;
    last = [event.offsetX * scale, event.offsetY * scale];
    before = picture();
    stroke(event);
  });
  canvas.addEventListener("pointermove", stroke);
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (last) remember(before);
      last = null;
    });
  }
  listenToArrows();
  fill();
  return { canvas, context, clear };

  /** Arrows move a pen from the middle, with Shift without drawing; each stroke of keys is one step back. */
  function listenToArrows() {
    let pen = [SIDE / 2, SIDE / 2];
    canvas.addEventListener("keydown", (event) => {
      const by = /** @type {Record<string, number[]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] })[event.key];
      if (!by) return;
      event.preventDefault();
      const to = pen.map((value, i) => Math.max(0, Math.min(SIDE, value + by[i] * STEP)));
      if (!event.shiftKey) {
        const from = picture();
        Object.assign(context, { lineWidth: BRUSH * SIDE, lineCap: "round", strokeStyle: colour() });
        context.beginPath();
        context.moveTo(pen[0], pen[1]);
        context.lineTo(to[0], to[1]);
        context.stroke();
        remember(from);
        onStroke();
      }
      pen = to;
    });
  }
}

/** The opposite of what a canvas shows. @param {HTMLCanvasElement} source */
export function inverted(source) {
  const canvas = h("canvas", { width: source.width, height: source.height });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.drawImage(source, 0, 0);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < image.data.length; i++) if (i % 4 < 3) image.data[i] = 255 - image.data[i];
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * The outermost pixels.
 * @param {Float32Array} pixels (C · H · W)
 * @param {number[]} shape
 */
export function edgeOf(pixels, [, height, width]) {
  return pixels.filter((_, i) => {
    const [x, y] = [i % width, Math.floor(i / width) % height];
    return !x || !y || x === width - 1 || y === height - 1;
  });
}

/**
 * Draw a picture into a canvas of another size.
 * @param {CanvasImageSource} source
 * @param {number[]} from x, y, width, height in the source
 * @param {number[]} to likewise, in a canvas of width × height filled with background
 * @param {number} width
 * @param {number} height
 * @param {string} background
 */
export function scaled(source, from, to, width, height, background) {
  // Halving first: browsers take means over two pixels only, and thin strokes would be lost.
  let [current, [x, y, w, h2]] = [source, from];
  while (w > 2 * to[2] && h2 > 2 * to[3]) {
    const half = new OffscreenCanvas(Math.ceil(w / 2), Math.ceil(h2 / 2));
    half.getContext("2d")?.drawImage(current, x, y, w, h2, 0, 0, half.width, half.height);
    [current, x, y, w, h2] = [half, 0, 0, half.width, half.height];
  }
  const canvas = h("canvas", { width, height });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.fillStyle = background;
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(current, x, y, w, h2, to[0], to[1], to[2], to[3]);
  return context;
}

/**
 * Where there is ink: the box around it and its center of mass, or null.
 * @param {Float32Array} pixels (C · H · W) from 0 to 1
 * @param {number[]} shape
 * @param {number} background
 */
export function inkOf(pixels, [channels, height, width], background) {
  let [left, top, right, bottom, mass, mx, my] = [width, height, 0, 0, 0, 0, 0];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      let ink = 0;
      for (let c = 0; c < channels; c++) ink = Math.max(ink, Math.abs(pixels[c * width * height + i] - background));
      if (ink < INK) continue;
      [left, top] = [Math.min(left, x), Math.min(top, y)];
      [right, bottom] = [Math.max(right, x + 1), Math.max(bottom, y + 1)];
      mass += ink;
      mx += ink * (x + 0.5);
      my += ink * (y + 0.5);
    }
  }
  return mass ? { left, top, width: right - left, height: bottom - top, x: mx / mass, y: my / mass } : null;
}
