/** Encoder, decoder and prior, with what reverses it, run by onnxruntime's WebAssembly inside the page. */

import { between, normal, onLine } from "./codes.js";
import { unpack } from "./contents.js";

const CHUNK = 64; // images in the network at a time

/** The networks, once they are there; one call after another. */
export class Engine {
  /** @param {number[]} shape (C, H, W) @param {number} latent */
  constructor(shape, latent) {
    this.shape = shape;
    this.latent = latent;
    this.pixels = shape.reduce((a, b) => a * b);
    /** @type {Promise<any>} */
    this.ready = this.load();
    /** @type {Promise<unknown>} */
    this.queue = Promise.resolve();
  }

  /** Unpack the engine and start the networks. */
  async load() {
    if (typeof WebAssembly === "undefined" || typeof DecompressionStream === "undefined") {
      throw new Error("This browser has no WebAssembly, so nothing can be decoded; the map works.");
    }
    if (!document.getElementById("engine")?.textContent?.trim()) return null; // a classifier decodes nothing
    const { header, arrays } = await unpack("engine");
    const url = URL.createObjectURL(new Blob([arrays.script], { type: "text/javascript" }));
    const ort = await import(url);
    URL.revokeObjectURL(url);
    ort.env.wasm.wasmBinary = arrays.wasm;
    ort.env.wasm.numThreads = 1;
    ort.env.logLevel = "error";
    const options = { executionProviders: ["wasm"] };
    const encoder = await ort.InferenceSession.create(arrays.encoder, options);
    const decoder = await ort.InferenceSession.create(arrays.decoder, options);
    const prior = arrays.prior ? await ort.InferenceSession.create(arrays.prior, options) : null;
    const base = arrays.base ? await ort.InferenceSession.create(arrays.base, options) : null;
    return { ort, encoder, decoder, prior, base, numbers: header.numbers };
  }

  /**
   * Codes, one after another, to their images.
   * @param {Float32Array} codes (n · D)
   * @returns {Promise<Float32Array>} (n · C · H · W) from 0 to 1
   */
  decode(codes) {
    return this.run("decoder", "z", codes, [this.latent], "pixels", this.pixels);
  }

  /**
   * Images, one after another, to their mean codes.
   * @param {Float32Array} images (n · C · H · W) from 0 to 1
   * @returns {Promise<Float32Array>} (n · D)
   */
  encode(images) {
    return this.run("encoder", "pixels", images, this.shape, "mu", this.latent);
  }

  /**
   * Codes drawn from the prior, one after another: standard normal numbers, or what a learned one makes of them.
   * @param {number} count
   * @returns {Promise<Float32Array>} (count · D)
   */
  async draw(count) {
    const { prior, numbers } = await this.ready;
    const noise = Float32Array.from({ length: count * numbers }, normal);
    return prior ? this.run("prior", "noise", noise, [numbers], "z", this.latent) : noise;
  }

  /**
   * Codes on the way from a to b: straight where a flow makes codes normal, which bends around what is unlikely; without
   * a flow turning.
   * @param {Float32Array} a
   * @param {Float32Array} b
   * @param {number[]} shares of the way, each from 0 to 1
   * @returns {Promise<Float32Array>} (shares · D), one after another
   */
  async walk(a, b, shares) {
    const { base } = await this.ready;
    const { latent } = this;
    const codes = new Float32Array(shares.length * latent);
    if (!base) {
      shares.forEach((t, i) => codes.set(between(a, b, t), i * latent));
      return codes;
    }
    const ends = await this.run("base", "z", new Float32Array([...a, ...b]), [latent], "noise", latent);
    const [from, to] = [ends.subarray(0, latent), ends.subarray(latent)];
    shares.forEach((t, i) => codes.set(onLine(from, to, t), i * latent));
    return this.run("prior", "noise", codes, [latent], "z", latent);
  }

  /**
   * @param {"encoder" | "decoder" | "prior" | "base"} network
   * @param {string} input
   * @param {Float32Array} values
   * @param {number[]} shape of one
   * @param {string} output
   * @param {number} size of one result
   * @returns {Promise<Float32Array>}
   */
  run(network, input, values, shape, output, size) {
    const one = shape.reduce((a, b) => a * b);
    const work = async () => {
      const loaded = await this.ready;
      const results = new Float32Array((values.length / one) * size);
      for (let at = 0; at * one < values.length; at += CHUNK) {
        const part = values.slice(at * one, (at + CHUNK) * one);
        const given = new loaded.ort.Tensor("float32", part, [part.length / one, ...shape]);
        const found = await loaded[network].run({ [input]: given });
        results.set(found[output].data, at * size);
      }
      return results;
    };
    const done = this.queue.then(work);
    this.queue = done.catch(() => {});
    return done;
  }
}
