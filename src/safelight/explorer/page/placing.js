/** Where a new code lies on a map: among those of its nearest codes whose places agree, never between islands. */

import { nearest } from "./codes.js";

const NEAR = 24; // codes that say where
const PERPLEXITY = 8; // about how many of them count
const STEPS = 20; // of the way to the densest place
const SAMPLE = 100; // points that tell how close points of a map lie
const CLOSE = 8; // whose distance to the neighbour of this rank, doubled, is the width of a neighbourhood

/**
 * The affinities of t-SNE (van der Maaten & Hinton 2008, equation 1): nearer codes count more, at the scale at which
 * about `PERPLEXITY` of them count.
 * @param {number[]} distances nearest first
 */
export function affinities(distances) {
  const wanted = Math.log(Math.min(PERPLEXITY, distances.length));
  const squares = distances.map((distance) => distance ** 2 - distances[0] ** 2);
  let [low, high] = [0, Infinity];
  let rate = 1 / (squares.at(-1) || 1);
  /** @type {number[]} */
  let shares = [];
  for (let i = 0; i < 60; i++) {
    const weights = squares.map((square) => Math.exp(-rate * square));
    const total = weights.reduce((a, b) => a + b);
    shares = weights.map((weight) => weight / total);
    const entropy = -shares.reduce((sum, share) => sum + (share && share * Math.log(share)), 0);
    if (entropy > wanted) low = rate;
    else high = rate;
    rate = high === Infinity ? 2 * rate : (low + high) / 2;
  }
  return shares;
}

/**
 * How wide a neighbourhood of a map is.
 * @param {Float32Array} map (N, 3)
 */
export function widthOf(map) {
  const n = map.length / 3;
  const step = Math.max(1, Math.floor(n / SAMPLE));
  const found = [];
  for (let at = 0; at < n; at += step) {
    found.push(nearest(map, 3, map.subarray(3 * at, 3 * at + 3), CLOSE, at).at(-1)?.distance ?? 0);
  }
  return 2 * found.sort((a, b) => a - b)[found.length >> 1] || 1e-6;
}

/**
 * The densest place among those of the nearest codes, each counting by its affinity, under t-SNE's kernel 1 / (1 + d²):
 * from the best of these places uphill (mean shift, Comaniciu & Meer 2002).
 * @param {import("./contents.js").Contents} contents
 * @param {Float32Array} map (N, 3)
 * @param {number} width of a neighbourhood
 * @param {Float32Array} code
 * @param {number} [except] a point that does not count
 * @returns {number[]}
 */
export function placeOf({ codes, header }, map, width, code, except = -1) {
  const near = nearest(codes, header.latent, code, NEAR, except);
  const places = near.map(({ at }) => [map[3 * at], map[3 * at + 1], map[3 * at + 2]]);
  const shares = affinities(near.map(({ distance }) => distance));
  const kernel = (/** @type {number[]} */ a, /** @type {number[]} */ b) =>
    1 / (1 + ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2) / width ** 2);
  const density = (/** @type {number[]} */ place) => places.reduce((sum, other, i) => sum + shares[i] * kernel(place, other), 0);
  let place = places.map((each) => ({ each, found: density(each) })).reduce((a, b) => (b.found > a.found ? b : a)).each;
  for (let step = 0; step < STEPS; step++) {
    const weights = places.map((other, i) => shares[i] * kernel(place, other) ** 2);
    const total = weights.reduce((a, b) => a + b);
    place = [0, 1, 2].map((d) => places.reduce((sum, other, i) => sum + weights[i] * other[d], 0) / total);
  }
  return place;
}
