/** Arithmetic of codes: neighbours, ways between them, draws of new ones. */

/**
 * The k points nearest to a place, nearest first.
 * @param {Float32Array | Uint8Array} points (N, dims), row by row
 * @param {number} dims
 * @param {ArrayLike<number>} place (dims,)
 * @param {number} k
 * @param {number} [except] a point that does not count
 * @returns {{at: number, distance: number}[]}
 */
export function nearest(points, dims, place, k, except = -1) {
  /** @type {{at: number, distance: number}[]} */
  const found = [];
  let worst = Infinity;
  for (let at = 0, p = 0; p < points.length; at++, p += dims) {
    let square = 0;
    for (let d = 0; d < dims && square < worst; d++) square += (points[p + d] - place[d]) ** 2;
    if (at === except || square >= worst) continue;
    let slot = found.length;
    while (slot > 0 && found[slot - 1].distance > square) slot--;
    found.splice(slot, 0, { at, distance: square });
    if (found.length > k) found.pop();
    if (found.length === k) worst = found[k - 1].distance;
  }
  return found.map(({ at, distance }) => ({ at, distance: Math.sqrt(distance) }));
}

/**
 * The mean of rows, each counting by its nearness: from a place on one map to that on another.
 * @param {Float32Array} rows
 * @param {number} dims
 * @param {{at: number, distance: number}[]} near
 */
export function blend(rows, dims, near) {
  const mixed = new Float32Array(dims);
  const floor = 1e-6 + 1e-3 * (near.at(-1)?.distance ?? 1);
  let total = 0;
  for (const { at, distance } of near) {
    const weight = 1 / (distance + floor) ** 2;
    total += weight;
    for (let d = 0; d < dims; d++) mixed[d] += weight * rows[at * dims + d];
  }
  return mixed.map((value) => value / total);
}

/**
 * A code on the spherical way from a to b (White 2016, section 2.1): its direction turns and its length changes at an
 * even pace, so that it is never longer than both. On the line where there is no such way.
 * @param {Float32Array} a
 * @param {Float32Array} b
 * @param {number} t from 0 to 1
 */
export function between(a, b, t) {
  const length = (/** @type {Float32Array} */ v) => Math.hypot(...v);
  const [long, other] = [length(a), length(b)];
  const dot = a.reduce((sum, value, d) => sum + value * b[d], 0);
  const angle = Math.acos(Math.max(-1, Math.min(1, dot / (long * other || 1))));
  const sine = Math.sin(angle);
  if (!(long && other) || sine < 1e-4) return onLine(a, b, t);
  const size = (1 - t) * long + t * other;
  const [first, second] = [(size * Math.sin((1 - t) * angle)) / sine / long, (size * Math.sin(t * angle)) / sine / other];
  return a.map((value, d) => first * value + second * b[d]);
}

/**
 * A code on the straight way from a to b.
 * @param {Float32Array} a
 * @param {Float32Array} b
 * @param {number} t from 0 to 1
 */
export function onLine(a, b, t) {
  return a.map((value, d) => (1 - t) * value + t * b[d]);
}

/** A standard normal number (Box & Muller 1958). */
export function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/**
 * A draw from a mixture of normal densities.
 * @param {import("./contents.js").Contents["mixture"]} mixture
 * @param {number} latent
 */
export function fromMixture(mixture, latent) {
  let part = 0;
  for (let left = Math.random() - mixture.weights[0]; left > 0 && part + 1 < mixture.weights.length; ) {
    left -= mixture.weights[++part];
  }
  const noise = Float32Array.from({ length: latent }, normal);
  return Float32Array.from({ length: latent }, (_, i) => {
    let value = mixture.means[part * latent + i];
    for (let j = 0; j < latent; j++) value += mixture.roots[(part * latent + i) * latent + j] * noise[j];
    return value;
  });
}

/**
 * Some value that a share of the others does not reach.
 * @param {ArrayLike<number>} values
 * @param {number} share
 */
export function quantile(values, share) {
  const sorted = Float32Array.from(values).sort();
  return sorted[Math.round(share * (sorted.length - 1))] ?? 0;
}
