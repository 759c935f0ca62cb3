/** What the page holds: codes, maps, columns, thumbnails and networks, out of its own text. */

/**
 * @typedef {object} Projection
 * @property {string} name for people
 * @property {number} dims
 * @property {string} words how far it can be trusted
 * @property {Float32Array} points (N, dims)
 */

/**
 * @typedef {object} Header
 * @property {string} title
 * @property {string} source
 * @property {string} fingerprint of the images
 * @property {number} n
 * @property {number} total training images, of which n are here
 * @property {number} latent
 * @property {boolean} is_variational
 * @property {boolean} has_prior codes can be drawn from
 * @property {boolean} has_flow which is a flow, so that walks go through it
 * @property {number[]} shape (C, H, W) of the networks' images
 * @property {number[] | null} thumbnail (C, h, w), or null without images
 * @property {string[]} names
 * @property {boolean} has_labels
 * @property {boolean} has_predictions of a classifier, whose features are the codes; nothing is decoded then
 * @property {string[]} classes that labels and predictions number; of those beyond, the number is the name
 * @property {{name: string, dims: number, words: string}[]} projections
 */

/**
 * @typedef {object} Contents
 * @property {Header} header
 * @property {Float32Array} codes (N, D)
 * @property {Float32Array} loss (N,)
 * @property {Int32Array} label (N,)
 * @property {Int32Array} predicted (N,) the likeliest class, of a classifier
 * @property {Float32Array} probability (N,) of that
 * @property {Int32Array} cluster (N,)
 * @property {Float32Array} tells (D,) KL in nats, or variance
 * @property {Float32Array} low (D,)
 * @property {Float32Array} high (D,)
 * @property {Float32Array} mean (D,)
 * @property {Uint8Array | null} thumbnails (N, C, h, w)
 * @property {{weights: Float32Array, means: Float32Array, roots: Float32Array}} mixture
 * @property {Projection[]} projections
 */

/** @typedef {Uint8Array | Float32Array | Int32Array} Numbers */

const KINDS = { uint8: Uint8Array, float32: Float32Array, int32: Int32Array };

/**
 * Read one of the page's packages: header and arrays.
 * @param {string} id
 * @returns {Promise<{header: any, arrays: Record<string, any>}>}
 */
export async function unpack(id) {
  const element = document.getElementById(id);
  const text = element?.textContent?.trim() ?? "";
  element?.remove(); // its megabytes are needed once
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  /** @type {Record<string, Numbers>} */
  const arrays = {};
  for (const { name, kind, offset, count } of header.arrays) {
    arrays[name] = new KINDS[/** @type {keyof typeof KINDS} */ (kind)](buffer, offset, count);
  }
  return { header, arrays };
}

/**
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
function fromBase64(text) {
  const { fromBase64: quick } = /** @type {any} */ (Uint8Array);
  if (quick) return quick.call(Uint8Array, text); // browsers since 2025
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

/** @returns {Promise<Contents>} */
export async function readContents() {
  const { header, arrays } = await unpack("contents");
  const { codes8, least, most } = arrays;
  const codes = new Float32Array(codes8.length);
  const latent = header.latent;
  for (let i = 0; i < codes.length; i++) {
    const d = i % latent;
    codes[i] = least[d] + (codes8[i] / 255) * (most[d] - least[d]);
  }
  return {
    header,
    codes,
    loss: arrays.loss,
    label: arrays.label,
    predicted: arrays.predicted,
    probability: arrays.probability,
    cluster: arrays.cluster,
    tells: arrays.tells,
    low: arrays.low,
    high: arrays.high,
    mean: arrays.mean,
    thumbnails: arrays.thumbnails ?? null,
    mixture: { weights: arrays.weights, means: arrays.means, roots: arrays.roots },
    projections: header.projections.map((/** @type {object} */ projection, /** @type {number} */ i) => ({
      ...projection,
      points: arrays[`points${i}`],
    })),
  };
}

/**
 * The code of a point.
 * @param {Contents} contents
 * @param {number} i
 */
export function codeOf(contents, i) {
  const { latent } = contents.header;
  return contents.codes.slice(i * latent, (i + 1) * latent);
}

/**
 * The label that came with a point; "" where it is unknown.
 * @param {Contents} contents
 * @param {number} at
 */
export function labelOf({ header, label }, at) {
  return label[at] < 0 ? "" : (header.classes[label[at]] ?? String(label[at]));
}

/**
 * What a classifier takes a point for.
 * @param {Contents} contents
 * @param {number} at
 */
export function predictionOf({ header, predicted }, at) {
  return header.classes[predicted[at]] ?? String(predicted[at]);
}
