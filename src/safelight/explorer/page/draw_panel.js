/** Draw or drop an image: encoded, decoded again, and placed on the map. */

import { nearest, normal, quantile } from "./codes.js";
import { announce, button, h, slider } from "./dom.js";
import { readPicture } from "./dropped.js";
import { frame, paint, pixelsOf } from "./pictures.js";
import { endButtons, pointButton } from "./point_panel.js";
import { SIDE, edgeOf, inkOf, inverted, scaled, sketchPad } from "./sketch.js";
import { newest } from "./state.js";

const NEIGHBOURS = 6;
const SAMPLE = 200; // images that say how large and on what background things are drawn

/** @param {import("./state.js").App} app */
export function drawPanel(app) {
  const { contents, engine } = app;
  const { shape, latent } = contents.header;
  const [channels, height, width] = shape;
  const habits = habitsOf(contents);
  const background = habits.isDark ? "#000000" : "#ffffff";
  const ink = habits.isDark ? "#ffffff" : "#000000";
  /** @type {Float32Array | null} */
  let image = null;
  /** @type {HTMLCanvasElement | null} what was brought; null where the image was drawn */
  let brought = null;
  let noise = Float32Array.from({ length: channels * width * height }, normal);
  let amount = 0;

  const colour = h("input", { type: "color", value: ink });
  const fit = h("input", { type: "checkbox", checked: channels === 1 });
  const invert = h("input", { type: "checkbox" });
  const note = h("p", { className: "muted", role: "status" });
  const [seen, again] = [frame("what the network sees"), frame("what it makes of it")];
  const near = h("div", { className: "grid" });
  const ends = h("div");
  const results = h(
    "div",
    { hidden: true },
    h(
      "div",
      { className: "pair" },
      h("figure", {}, seen, h("figcaption", {}, "Input")),
      h("figure", {}, again, h("figcaption", {}, "Reconstruction")),
    ),
    ends,
    h("h3", {}, "Nearest codes"),
    near,
  );

  const encode = newest(async () => {
    if (!image) return;
    const given = image.map((value, i) => Math.max(0, Math.min(1, value + amount * noise[i])));
    const code = await engine.encode(given);
    const pixels = await engine.decode(code);
    const canvas = paint(frame(), image, shape);
    paint(seen, given, shape);
    paint(again, pixels, shape);
    const found = nearest(contents.codes, latent, code, NEIGHBOURS);
    near.replaceChildren(...found.map(({ at }) => pointButton(app, at)));
    ends.replaceChildren(endButtons(app, code));
    results.hidden = false;
    app.guest.set({ code, canvas });
  });
  const pad = sketchPad(background, () => colour.value, () => {
    brought = null;
    invert.checked = false;
    take(pad.canvas);
  }, app.history);
  for (const choice of [fit, invert]) {
    choice.addEventListener("change", () => {
      if (image) take(brought ?? pad.canvas);
    });
  }

  /** Take what was drawn or brought for the image. @param {HTMLCanvasElement} canvas of SIDE × SIDE */
  function take(canvas) {
    image = fitted(canvas);
    return encode();
  }

  /**
   * What a canvas shows at the networks' size: inverted where asked for, and as large and as central as the set's images.
   * @param {HTMLCanvasElement} given
   */
  function fitted(given) {
    const canvas = invert.checked ? inverted(given) : given;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const whole = pixelsOf(context, [channels, SIDE, SIDE]);
    const box = fit.checked ? inkOf(whole, [channels, SIDE, SIDE], habits.isDark ? 0 : 1) : null;
    const from = box ? [box.left, box.top, box.width, box.height] : [0, 0, SIDE, SIDE];
    let to = [0, 0, width, height];
    if (box) {
      const scale = (habits.extent * Math.min(width, height)) / Math.max(box.width, box.height);
      const [w, h2] = [box.width * scale, box.height * scale];
      const x = width / 2 - (box.x - box.left) * scale;
      const y = height / 2 - (box.y - box.top) * scale;
      to = [Math.max(0, Math.min(width - w, x)), Math.max(0, Math.min(height - h2, y)), w, h2];
    }
    return pixelsOf(scaled(canvas, from, to, width, height, background), shape);
  }

  /** Whether a picture's edge is as bright as the set's is dark, or the reverse. @param {HTMLCanvasElement} canvas */
  function isInverse(canvas) {
    if (!habits.isPlain) return false;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const edge = edgeOf(pixelsOf(context, [channels, SIDE, SIDE]), [channels, SIDE, SIDE]);
    return habits.isDark ? quantile(edge, 0.5) > 0.75 : quantile(edge, 0.5) < 0.25;
  }

  /** @param {File | undefined} file */
  async function bring(file) {
    if (!file) return;
    try {
      const { bitmap, remark } = await readPicture(file);
      const cut = Math.min(bitmap.width / width, bitmap.height / height);
      const [w, h2] = [width * cut, height * cut];
      const from = [(bitmap.width - w) / 2, (bitmap.height - h2) / 2, w, h2];
      const isLike = bitmap.width === width && bitmap.height === height;
      brought = scaled(bitmap, from, [0, 0, SIDE, SIDE], SIDE, SIDE, background).canvas;
      fit.checked = habits.isPlain && !isLike; // one of the set's size lies as its images do
      const isOther = isInverse(brought);
      invert.checked = isOther;
      const exact = isLike ? pixelsOf(scaled(bitmap, from, [0, 0, width, height], width, height, background), shape) : null;
      bitmap.close();
      const guess = isOther ? `It is ${habits.isDark ? "dark on bright" : "bright on dark"}, unlike this set, and was inverted; untick “invert it” if that is wrong. ` : "";
      const placed = fit.checked ? "made as large and central as the set's images" : `scaled to ${width} × ${height}`;
      note.textContent = `${file.name.slice(0, 60)} was cut to the middle and ${placed}. ${guess}${remark}`;
      if (exact && !isOther) {
        image = exact;
        await encode();
      } else await take(brought);
    } catch (error) {
      note.textContent = /** @type {Error} */ (error).message;
    }
    announce(note.textContent);
  }
  const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/gif" });
  file.addEventListener("change", () => {
    void bring(file.files?.[0]);
    file.value = "";
  });
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (event) => {
      const { dataTransfer } = /** @type {DragEvent} */ (event);
      if (!dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (name === "drop") {
        app.open("draw");
        void bring(dataTransfer.files[0]);
      }
    });
  }

  const noisy = slider("Noise", { min: 0, max: 1, step: 0.02, value: 0 }, (value) => {
    amount = value;
    void encode();
  });
  return h(
    "div",
    {},
    h("p", { className: "muted" }, "Draw, or drop a picture anywhere: it is encoded here and placed on the map."),
    pad.canvas,
    h(
      "div",
      { className: "row" },
      button("Clear", () => {
        pad.clear();
        [image, brought] = [null, null];
        results.hidden = true;
        app.guest.set(null);
      }),
      h("label", {}, fit, " fit and center"),
      ...(channels === 3 ? [h("label", {}, "colour ", colour)] : []),
    ),
    h("div", { className: "row" }, h("label", { className: "file" }, "Open a picture ", file), h("label", {}, invert, " invert it")),
    note,
    noisy.label,
    h("div", { className: "row" }, button("Other noise", () => {
      noise = noise.map(normal);
      void encode();
    })),
    results,
  );
}

/**
 * Whether things are drawn bright on dark, whether always on a plain ground, and how much of an image the larger side
 * of one takes.
 * @param {import("./contents.js").Contents} contents
 */
function habitsOf({ thumbnails, header }) {
  if (!thumbnails || !header.thumbnail) return { isDark: true, isPlain: false, extent: 0.72 };
  const size = header.thumbnail.reduce((a, b) => a * b);
  const sample = Float32Array.from(thumbnails.subarray(0, SAMPLE * size), (value) => value / 255);
  const isDark = quantile(sample, 0.5) < 0.5;
  const grounds = [];
  const [, height, width] = header.thumbnail;
  const extents = [];
  for (let at = 0; at < sample.length; at += size) {
    const box = inkOf(sample.subarray(at, at + size), header.thumbnail, isDark ? 0 : 1);
    grounds.push(quantile(edgeOf(sample.subarray(at, at + size), header.thumbnail), 0.5));
    if (box) extents.push(Math.max(box.width, box.height) / Math.min(width, height));
  }
  const isPlain = isDark ? quantile(grounds, 0.9) < 0.2 : quantile(grounds, 0.1) > 0.8;
  return { isDark, isPlain, extent: Math.min(1, quantile(extents, 0.5) || 1) };
}
