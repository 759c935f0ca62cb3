/** Colours of points: of groups and of amounts, with a legend that says what they mean. */

import { quantile } from "./codes.js";

/**
 * @typedef {object} Colouring
 * @property {Uint32Array} colours (N,) as bytes R, G, B, A
 * @property {{name: string, colour: string, count?: number}[]} legend
 * @property {Int32Array} groups (N,) a legend entry each
 * @property {boolean} isAmount whether these are steps of an amount
 */

// Petroff (2021), Accessible Color Sequences for Data Visualization.
const GROUPS = ["#3f90da", "#ffa90e", "#e0301e", "#94a4a2", "#9a4dcb", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"];
const NONE = "#8c8782";
// From viridis (Smith & van der Walt 2015), without its darkest and palest.
const AMOUNTS = ["#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39"];
const OPAQUE = 0xe0000000;

/** @param {string} hex */
function packed(hex) {
  const rgb = parseInt(hex.slice(1), 16);
  return (((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16) | OPAQUE) >>> 0;
}

/**
 * Colours of groups: the ten largest have those that are told apart best, all others a hue and lightness of their own.
 * @param {string[]} names (N,) each point's group; "" for none
 * @returns {Colouring}
 */
export function byGroup(names) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const without = counts.get("") ?? 0;
  counts.delete("");
  const collator = new Intl.Collator("en", { numeric: true });
  const byName = (/** @type {[string, number]} */ a, /** @type {[string, number]} */ b) => collator.compare(a[0], b[0]);
  const largest = [...counts].sort((a, b) => b[1] - a[1]);
  const others = largest.splice(GROUPS.length).sort(byName);
  const legend = [
    ...largest.sort(byName).map(([name, count], i) => ({ name, count, colour: GROUPS[i] })),
    ...others.map(([name, count], i) => ({ name, count, colour: further(i) })),
  ];
  legend.sort((a, b) => collator.compare(a.name, b.name));
  const place = new Map(legend.map(({ name }, i) => [name, i]));
  if (without) place.set("", legend.push({ name: "none", count: without, colour: NONE }) - 1);
  const group = Int32Array.from(names, (name) => /** @type {number} */ (place.get(name)));
  const tones = legend.map(({ colour }) => packed(colour));
  return { colours: Uint32Array.from(group, (i) => tones[i]), legend, groups: group, isAmount: false };
}

/** One of many colours: hues a golden section apart, in three lightnesses. @param {number} i */
function further(i) {
  const [hue, light, strength] = [((i * 0.618034 + 0.1) % 1) * 12, [0.5, 0.66, 0.38][i % 3], [0.62, 0.5, 0.7][i % 3]];
  const part = (/** @type {number} */ n) => {
    const k = (n + hue) % 12;
    const value = light - strength * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(value * 255).toString(16).padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

/**
 * Colours of amounts, dark for little; the outermost hundredths share the ends.
 * @param {ArrayLike<number>} values (N,)
 * @returns {Colouring}
 */
export function byAmount(values) {
  const [low, high] = [quantile(values, 0.01), quantile(values, 0.99)];
  const span = high - low || 1;
  const steps = AMOUNTS.length;
  const tones = AMOUNTS.map(packed);
  const step = (/** @type {number} */ value) =>
    Math.max(0, Math.min(steps - 1, Math.floor(((value - low) / span) * steps)));
  const legend = AMOUNTS.map((colour, i) => ({
    name: `${(low + (span * i) / steps).toPrecision(3)}…`,
    colour,
  }));
  const groups = new Int32Array(values.length);
  for (let i = 0; i < groups.length; i++) groups[i] = step(values[i]);
  return { colours: new Uint32Array(groups.length).map((_, i) => tones[groups[i]]), legend, groups, isAmount: true };
}
