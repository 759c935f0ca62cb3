/** Colours of points: of groups and of amounts, with a legend that says what they mean. */

import { quantile } from "./codes.js";

/**
 * @typedef {object} Colouring
 * @property {Uint32Array} colours (N,) as bytes R, G, B, A
 * @property {{name: string, colour: string, count?: number}[]} legend
 * @property {Int32Array | null} groups (N,) a legend entry each, or null where the colours show amounts
 */

// Petroff (2021), Accessible Color Sequences for Data Visualization.
const GROUPS = ["#3f90da", "#ffa90e", "#e0301e", "#94a4a2", "#9a4dcb", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"];
const OTHERS = "#8c8782";
// From viridis (Smith & van der Walt 2015), without its darkest and palest.
const AMOUNTS = ["#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39"];
const OPAQUE = 0xe0000000;

/** @param {string} hex */
function packed(hex) {
  const rgb = parseInt(hex.slice(1), 16);
  return (((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16) | OPAQUE) >>> 0;
}

/**
 * Colours of groups, the largest first; of more than ten, all but nine share a grey.
 * @param {string[]} names (N,) each point's group; "" for none
 * @returns {Colouring}
 */
export function byGroup(names) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const without = counts.get("") ?? 0;
  counts.delete("");
  let groups = [...counts].sort((a, b) => b[1] - a[1]);
  const rest = groups.length > GROUPS.length ? groups.splice(GROUPS.length - 1) : [];
  groups = groups.sort((a, b) => a[0].localeCompare(b[0], "en", { numeric: true }));
  const legend = groups.map(([name, count], i) => ({ name, count, colour: GROUPS[i] }));
  const place = new Map(groups.map(([name], i) => [name, i]));
  const others = rest.reduce((sum, [, count]) => sum + count, 0);
  const add = (/** @type {string} */ name, /** @type {number} */ count) =>
    count ? legend.push({ name, count, colour: OTHERS }) - 1 : -1;
  const othersAt = add(`${rest.length} others`, others);
  const noneAt = add("none", without);
  const group = Int32Array.from(names, (name) => (name ? (place.get(name) ?? othersAt) : noneAt));
  const tones = legend.map(({ colour }) => packed(colour));
  return { colours: Uint32Array.from(group, (i) => tones[i]), legend, groups: group };
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
  return { colours: Uint32Array.from(Array.from(values), (value) => tones[step(value)]), legend, groups: null };
}
