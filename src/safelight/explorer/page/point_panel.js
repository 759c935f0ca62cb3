/** A point: its image, what the networks make of it, and its neighbours. */

import { nearest } from "./codes.js";
import { codeOf, labelOf, predictionOf } from "./contents.js";
import { announce, button, h } from "./dom.js";
import { frame, paint, thumbnail } from "./pictures.js";

const NEIGHBOURS = 12;

/** @param {import("./state.js").App} app */
export function pointPanel(app) {
  const { contents, engine } = app;
  const { header } = contents;
  const or = header.has_predictions ? "" : ", or any place between points";
  const element = h("div", {}, h("p", { className: "muted" }, `Pick a point of the map${or}.`));

  app.picked.watch((at) => {
    if (at < 0) return;
    const code = codeOf(contents, at);
    const again = frame("what its code decodes to");
    if (!header.has_predictions) void engine.decode(code).then((pixels) => paint(again, pixels, header.shape), () => {});
    const near = nearest(contents.codes, header.latent, code, NEIGHBOURS, at);
    const words = describe(app, at);
    element.replaceChildren(
      h("h3", {}, words[0]),
      h(
        "div",
        { className: "pair" },
        ...(contents.thumbnails ? [h("figure", {}, thumbnail(app, at, frame("the image")), h("figcaption", {}, "Image"))] : []),
        ...(header.has_predictions ? [] : [h("figure", {}, again, h("figcaption", {}, "Reconstruction"))]),
      ),
      h("p", {}, words.slice(1).join(" · ")),
      ...(header.has_predictions ? [] : [endButtons(app, code)]),
      h("h3", {}, `${near.length} nearest ${header.has_predictions ? "features" : "codes"}`),
      h(
        "div",
        { className: "grid" },
        ...near.map(({ at: other, distance }) =>
          h(
            "div",
            {},
            pointButton(app, other),
            h("span", { className: "muted" }, distance.toFixed(2)),
          ),
        ),
      ),
    );
    announce(words.join(", "));
  });
  return element;
}

/**
 * What there is to say of a point; its name first.
 * @param {import("./state.js").App} app
 * @param {number} at
 */
export function describe({ contents, labels }, at) {
  const words = [`${contents.thumbnails ? "Image" : "Decoded image"} ${contents.header.names[at]}`];
  if (contents.header.has_predictions) words.push(`${predictionOf(contents, at)} by ${(100 * contents.probability[at]).toFixed(0)}%`);
  if (contents.header.has_labels) words.push(`label ${labelOf(contents, at) || "unknown"}`);
  const own = labels.of.get(at);
  if (own) words.push(`my label ${own}`);
  words.push(`cluster ${contents.cluster[at] + 1}`);
  return contents.header.has_predictions ? words : [...words, `loss ${contents.loss[at].toFixed(1)} nats`];
}

/**
 * A point's image, to pick it.
 * @param {import("./state.js").App} app
 * @param {number} at
 */
export function pointButton(app, at) {
  const element = button("", () => app.picked.set(at), {
    className: "image",
    "aria-label": describe(app, at).join(", "),
  });
  element.append(thumbnail(app, at));
  return element;
}

/**
 * Buttons that make a code an end of the walk.
 * @param {import("./state.js").App} app
 * @param {Float32Array} code
 */
export function endButtons(app, code) {
  const choose = (/** @type {number} */ i) => {
    const ends = [...app.ends.get()];
    ends[i] = code;
    app.ends.set(ends);
    announce(`${"AB"[i]} is set`);
    if (ends[0] && ends[1]) app.open("walk");
  };
  const change = button("Change", () => {
    app.code.set(code);
    app.open("sliders");
  });
  return h(
    "div",
    { className: "row" },
    button("Walk from here", () => choose(0)),
    button("Walk to here", () => choose(1)),
    ...(app.opened() === "sliders" ? [] : [change]),
  );
}
