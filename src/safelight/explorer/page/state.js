/** What the parts of the page share. */

/**
 * A value that others may watch.
 * @template T
 * @typedef {object} Cell
 * @property {() => T} get
 * @property {(value: T) => void} set
 * @property {(listener: (value: T) => void) => void} watch
 */

/**
 * @template T
 * @param {T} value
 * @returns {Cell<T>}
 */
export function cell(value) {
  /** @type {((value: T) => void)[]} */
  const listeners = [];
  return {
    get: () => value,
    set(next) {
      value = next;
      for (const listener of listeners) listener(next);
    },
    watch: (listener) => void listeners.push(listener),
  };
}

/**
 * Only the newest of many calls matters: while one runs, the last of those that came waits. One that fails leaves
 * everything as it was; why there is no engine, the page says once.
 * @template {unknown[]} A
 * @param {(...args: A) => Promise<void>} action
 * @returns {(...args: A) => Promise<void>}
 */
export function newest(action) {
  /** @type {A | null} */
  let waiting = null;
  /** @type {Promise<void> | null} */
  let running = null;
  async function work() {
    while (waiting) {
      const args = waiting;
      waiting = null;
      await action(...args).catch(() => {});
    }
    running = null;
  }
  return (...args) => {
    waiting = args;
    running ??= work();
    return running;
  };
}

/**
 * @typedef {object} App
 * @property {import("./contents.js").Contents} contents
 * @property {import("./engine.js").Engine} engine
 * @property {import("./labels.js").Labels} labels
 * @property {import("./history.js").History} history
 * @property {import("./choosing.js").Choosing} choosing
 * @property {Cell<number>} picked a point, or -1
 * @property {Cell<Float32Array>} code what the sliders start from
 * @property {Cell<number[]>} selection points
 * @property {Cell<(Float32Array | null)[]>} ends of a walk: A and B
 * @property {Cell<{code: Float32Array, canvas: HTMLCanvasElement} | null>} guest an image that was drawn or dropped
 * @property {(name: string) => void} open a panel
 * @property {() => string} opened which is open
 */
export {};
