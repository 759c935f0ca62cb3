/** New images, each beside the one in the page that is nearest to it, so that copying shows. */

import { fromMixture, nearest } from "./codes.js";
import { announce, button, h } from "./dom.js";
import { pointButton } from "./point_panel.js";
import { frame, paint, shrink } from "./pictures.js";

const COUNT = 12;

/** @param {import("./state.js").App} app */
export function samplePanel(app) {
  const { contents, engine } = app;
  const { latent, shape, thumbnail, n, has_prior: hasPrior } = contents.header;
  const grid = h("div", { className: "couples" });
  const choices = (hasPrior ? ["prior", "mixture"] : ["mixture"]).map((name, i) => {
    const input = h("input", { type: "radio", name: "method", value: name, checked: i === 0 });
    return { name, input, label: h("label", {}, input, ` ${name}`) };
  });

  async function draw() {
    const method = choices.find(({ input }) => input.checked)?.name;
    const codes = method === "prior" ? await engine.draw(COUNT) : new Float32Array(COUNT * latent);
    const drawn = Array.from({ length: COUNT }, (_, i) => codes.subarray(i * latent, (i + 1) * latent));
    if (method === "mixture") drawn.forEach((code) => code.set(fromMixture(contents.mixture, latent)));
    const pixels = await engine.decode(codes);
    const size = pixels.length / COUNT;
    grid.replaceChildren(
      ...drawn.map((code, i) => {
        const image = pixels.slice(i * size, (i + 1) * size);
        const like = thumbnail && contents.thumbnails ? shrink(image, shape, thumbnail).map((value) => value * 255) : null;
        const [near] = like && contents.thumbnails ? nearest(contents.thumbnails, like.length, like, 1) : nearest(contents.codes, latent, code, 1);
        const change = button("", () => {
          app.code.set(code.slice());
          app.open("sliders");
        }, { className: "image", "aria-label": `new image ${i + 1}: change it with sliders` });
        change.append(paint(frame(), image, shape));
        return h("div", {}, change, pointButton(app, near.at));
      }),
    );
    announce(`${COUNT} new images from the ${method}`);
  }

  const what = contents.thumbnails ? "image" : "code";
  return h(
    "div",
    {},
    h("p", { className: "muted" }, `New images, each above the nearest ${what} of the ${n.toLocaleString("en")} in this page.`),
    h("fieldset", { className: "row" }, h("legend", {}, "Drawn from"), ...choices.map(({ label }) => label)),
    h("div", { className: "row" }, button("Draw new images", () => void draw().catch(() => {}), { className: "main" })),
    grid,
  );
}
