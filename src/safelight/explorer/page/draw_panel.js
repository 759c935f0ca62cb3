/** Draw or drop an image: encoded, decoded again, and placed on the map. */

import { nearest, normal, quantile } from "./codes.js";
import { announce, button, h, slider } from "./dom.js";
import { readPicture } from "./dropped.js";
import { frame, paint, pixelsOf } from "./pictures.js";
import { endButtons, pointButton } from "./point_panel.js";
import { SIDE, inkOf, scaled, sketchPad } from "./sketch.js";
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
    image = fromSketch();
    void encode();
  });

  /** The drawing at the networks' size, where asked for as large and as central as the set's images. */
  function fromSketch() {
    const whole = pixelsOf(pad.context, [channels, SIDE, SIDE]);
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
    return pixelsOf(scaled(pad.canvas, from, to, width, height, background), shape);
  }

  /** @param {File | undefined} file */
  async function take(file) {
    if (!file) return;
    try {
      const { bitmap, remark } = await readPicture(file);
      const cut = Math.min(bitmap.width / width, bitmap.height / height);
      const [w, h2] = [width * cut, height * cut];
      const from = [(bitmap.width - w) / 2, (bitmap.height - h2) / 2, w, h2];
      image = pixelsOf(scaled(bitmap, from, [0, 0, width, height], width, height, background), shape);
      if (invert.checked) image = image.map((value) => 1 - value);
      bitmap.close();
      note.textContent = `${file.name.slice(0, 60)} was cut to the middle and scaled to ${width} × ${height}. ${remark}`;
      await encode();
    } catch (error) {
      note.textContent = /** @type {Error} */ (error).message;
    }
    announce(note.textContent);
  }
  const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/gif" });
  file.addEventListener("change", () => {
    void take(file.files?.[0]);
    file.value = "";
  });
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (event) => {
      const { dataTransfer } = /** @type {DragEvent} */ (event);
      if (!dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (name === "drop") {
        app.open("draw");
        void take(dataTransfer.files[0]);
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
        image = null;
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
 * Whether things are drawn bright on dark, and how much of an image the larger side of one takes.
 * @param {import("./contents.js").Contents} contents
 */
function habitsOf({ thumbnails, header }) {
  if (!thumbnails || !header.thumbnail) return { isDark: true, extent: 0.72 };
  const size = header.thumbnail.reduce((a, b) => a * b);
  const sample = Float32Array.from(thumbnails.subarray(0, SAMPLE * size), (value) => value / 255);
  const isDark = quantile(sample, 0.5) < 0.5;
  const [, height, width] = header.thumbnail;
  const extents = [];
  for (let at = 0; at < sample.length; at += size) {
    const box = inkOf(sample.subarray(at, at + size), header.thumbnail, isDark ? 0 : 1);
    if (box) extents.push(Math.max(box.width, box.height) / Math.min(width, height));
  }
  return { isDark, extent: Math.min(1, quantile(extents, 0.5) || 1) };
}
