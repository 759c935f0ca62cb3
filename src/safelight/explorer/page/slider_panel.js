/** A slider for each dimension of the code, the most telling first, each with the images along it. */

import { button, h, slider } from "./dom.js";
import { endButtons } from "./point_panel.js";
import { frame, paint } from "./pictures.js";
import { newest } from "./state.js";

const STEPS = 7;
const SHOWN = 12;

/** @param {import("./state.js").App} app */
export function sliderPanel(app) {
  const { contents, engine } = app;
  const { latent, shape, is_variational: isVariational } = contents.header;
  const order = Array.from(contents.tells.keys()).sort((a, b) => contents.tells[b] - contents.tells[a]);
  let code = contents.mean.slice();
  const scene = frame("what the sliders decode to");
  const ends = h("div");

  const show = newest(async () => paint(scene, await engine.decode(code), shape) && undefined);
  const drawStrips = newest(async () => {
    for (const row of rows) if (!row.element.hidden) await row.draw();
  });

  const rows = order.map((d, place) => {
    const strip = h("div", { className: "strip small", "aria-hidden": "true" });
    const canvases = Array.from({ length: STEPS }, () => frame());
    strip.append(...canvases);
    const [low, high] = [contents.low[d], contents.high[d]];
    const tells = contents.tells[d].toFixed(2);
    const name = `Dimension ${d} · ${isVariational ? `KL ${tells} nats` : `variance ${tells}`}`;
    const { input, label } = slider(name, { min: low, max: high, step: (high - low) / 200 || "any" }, (value) => {
      code = code.slice();
      code[d] = value;
      void show();
      offerEnds();
    });
    input.addEventListener("change", () => void drawStrips());
    const element = h("div", { hidden: place >= SHOWN }, label, strip);
    return {
      element,
      set: () => (input.valueAsNumber = code[d]),
      async draw() {
        const codes = new Float32Array(STEPS * latent);
        for (let i = 0; i < STEPS; i++) {
          codes.set(code, i * latent);
          codes[i * latent + d] = low + ((high - low) * i) / (STEPS - 1);
        }
        const pixels = await engine.decode(codes);
        const size = pixels.length / STEPS;
        canvases.forEach((canvas, i) => paint(canvas, pixels.subarray(i * size, (i + 1) * size), shape));
      },
    };
  });

  function offerEnds() {
    ends.replaceChildren(endButtons(app, code));
  }
  function refresh() {
    for (const row of rows) row.set();
    offerEnds();
    void show().then(drawStrips);
  }
  let isOpen = false;
  app.code.watch((given) => {
    code = given.slice();
    if (isOpen) refresh();
  });

  const more = button(`Show all ${latent} dimensions`, () => {
    for (const row of rows) row.element.hidden = false;
    more.hidden = true;
    void drawStrips();
  }, { hidden: latent <= SHOWN });
  const element = h(
    "div",
    {},
    h("p", { className: "muted" }, `Each slider spans the middle 98 % of the images' codes; those that tell most of an image come first.`),
    h("div", { className: "pair sticky" }, h("figure", {}, scene)),
    h("div", { className: "row" }, button("Mean code", () => app.code.set(contents.mean.slice()))),
    ends,
    ...rows.map((row) => row.element),
    more,
  );
  return {
    element,
    toggle: (/** @type {boolean} */ open) => {
      if (open && !isOpen) refresh();
      isOpen = open;
    },
  };
}
