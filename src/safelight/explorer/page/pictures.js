/** Pixels on canvases, and off them. */

import { h } from "./dom.js";

/**
 * Draw an image, a pixel a pixel; CSS enlarges it.
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} pixels (C · H · W)
 * @param {number[]} shape (C, H, W)
 * @param {number} [white] the value of white
 */
export function paint(canvas, pixels, [channels, height, width], white = 1) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  const size = width * height;
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = (pixels[(channels === 3 ? c : 0) * size + i] * 255) / white + 0.5;
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}

/**
 * An empty canvas for an image.
 * @param {string} label what it shows; empty where text beside it says so
 */
export function frame(label = "") {
  const about = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return h("canvas", { className: "picture", width: 1, height: 1, ...about });
}

/**
 * The image of a point, on a canvas: its thumbnail or, in a page without images, what its code decodes to.
 * @param {import("./state.js").App} app
 * @param {number} at
 * @param {HTMLCanvasElement} [canvas]
 */
export function thumbnail(app, at, canvas = frame()) {
  const held = heldPixels(app, at);
  if (held) return paint(canvas, held.pixels, held.shape, held.white);
  void thumbnailPixels(app, at).then(({ pixels, shape, white }) => paint(canvas, pixels, shape, white), () => {});
  return canvas;
}

/** @typedef {{pixels: ArrayLike<number>, shape: number[], white: number}} Pixels */

/**
 * The pixels of the same image.
 * @param {import("./state.js").App} app
 * @param {number} at
 * @returns {Promise<Pixels>}
 */
export async function thumbnailPixels(app, at) {
  const { header, codes } = app.contents;
  const code = codes.slice(at * header.latent, (at + 1) * header.latent);
  return heldPixels(app, at) ?? { pixels: await app.engine.decode(code), shape: header.shape, white: 1 };
}

/**
 * @param {import("./state.js").App} app
 * @param {number} at
 * @returns {Pixels | null}
 */
function heldPixels({ contents: { thumbnails, header } }, at) {
  if (!thumbnails || !header.thumbnail) return null;
  const size = header.thumbnail.reduce((a, b) => a * b);
  return { pixels: thumbnails.subarray(at * size, (at + 1) * size), shape: header.thumbnail, white: 255 };
}

/**
 * A picture made smaller by taking means, to compare it with thumbnails.
 * @param {Float32Array} pixels
 * @param {number[]} shape
 * @param {number[]} to
 */
export function shrink(pixels, [channels, height, width], [, h2, w2]) {
  if (height === h2 && width === w2) return pixels;
  const small = new Float32Array(channels * h2 * w2);
  for (let c = 0, i = 0; c < channels; c++) {
    for (let y = 0; y < h2; y++) {
      for (let x = 0; x < w2; x++, i++) {
        const [top, left] = [Math.floor((y * height) / h2), Math.floor((x * width) / w2)];
        const bottom = Math.max(top + 1, Math.floor(((y + 1) * height) / h2));
        const right = Math.max(left + 1, Math.floor(((x + 1) * width) / w2));
        let sum = 0;
        for (let v = top; v < bottom; v++) {
          for (let u = left; u < right; u++) sum += pixels[(c * height + v) * width + u];
        }
        small[i] = sum / ((bottom - top) * (right - left));
      }
    }
  }
  return small;
}

/**
 * A canvas's pixels as a network takes them.
 * @param {CanvasRenderingContext2D} context
 * @param {number[]} shape (C, H, W), the canvas's size
 * @returns {Float32Array} from 0 to 1
 */
export function pixelsOf(context, [channels, height, width]) {
  const { data } = context.getImageData(0, 0, width, height);
  const size = width * height;
  const pixels = new Float32Array(channels * size);
  for (let i = 0; i < size; i++) {
    const [r, g, b] = data.subarray(4 * i);
    if (channels === 3) [r, g, b].forEach((value, c) => (pixels[c * size + i] = value / 255));
    else pixels[i] = (0.299 * r + 0.587 * g + 0.114 * b) / 255;
  }
  return pixels;
}
