/** What the colours of the map show: a choice, and its legend. */

import { labelOf, predictionOf } from "./contents.js";
import { h } from "./dom.js";
import { byAmount, byGroup } from "./palette.js";

const DIMENSIONS = 64; // of a code that are offered as colours

/**
 * @param {import("./state.js").App} app
 * @param {HTMLSelectElement} select
 * @param {HTMLElement} legend
 * @param {(colouring: import("./palette.js").Colouring) => void} onChoice
 */
export function colourChoice({ contents, labels, choosing }, select, legend, onChoice) {
  const { header, cluster, loss, codes, probability } = contents;
  const told = (/** @type {number} */ at) => labels.of.get(at) ?? labelOf(contents, at);
  const verdict = (/** @type {number} */ at) => told(at) && (told(at) === predictionOf(contents, at) ? "right" : "mistaken");
  const each = (/** @type {(at: number) => string} */ name) => byGroup(Array.from({ length: header.n }, (_, at) => name(at)));
  /** @type {Record<string, {name: string, make: () => import("./palette.js").Colouring}>} */
  const choices = {
    ...(header.has_predictions && {
      prediction: { name: "prediction", make: () => each((at) => predictionOf(contents, at)) },
      probability: { name: "probability", make: () => byAmount(probability) },
      mistakes: { name: "mistakes", make: () => each(verdict) },
    }),
    ...(header.has_labels && { label: { name: "label", make: () => each((at) => labelOf(contents, at)) } }),
    cluster: { name: "cluster", make: () => byGroup(Array.from(cluster, (value) => String(value + 1))) },
    ...(!header.has_predictions && { loss: { name: "loss", make: () => byAmount(loss) } }),
    own: { name: "my labels", make: () => each((at) => labels.of.get(at) ?? "") },
  };
  const order = Array.from(contents.tells.keys()).sort((a, b) => contents.tells[b] - contents.tells[a]);
  for (const d of order.slice(0, DIMENSIONS)) {
    const make = () => byAmount(Float32Array.from({ length: header.n }, (_, at) => codes[at * header.latent + d]));
    choices[`z${d}`] = { name: `dimension ${d}`, make };
  }
  select.append(...Object.entries(choices).map(([value, { name }]) => h("option", { value }, name)));

  function show() {
    const colouring = choices[select.value].make();
    legend.replaceChildren(
      ...colouring.legend.map(({ name, colour, count }, group) => {
        const swatch = h("span", { className: "swatch", "aria-hidden": "true" });
        swatch.style.background = colour;
        const words = count === undefined ? name : `${name} (${count.toLocaleString("en")})`;
        const choose = h("button", { type: "button", title: "choose these; Shift adds, Alt takes away" }, swatch, words);
        choose.addEventListener("click", (event) => {
          const points = Array.from(colouring.groups.keys()).filter((at) => colouring.groups[at] === group);
          choosing.choose(points, choosing.mode(event));
        });
        return h("li", {}, choose);
      }),
    );
    onChoice(colouring);
  }
  select.addEventListener("change", show);
  labels.listeners.push(() => {
    if (["own", "mistakes"].includes(select.value)) show();
  });
  show();
  return {
    /** @param {string} value */
    choose(value) {
      if (!Object.hasOwn(choices, value)) return;
      select.value = value;
      show();
    },
  };
}
