/** What was done, to be undone and done again. */

const MOST = 100;

/** @typedef {{words: string, undo: () => void, redo: () => void}} Step */

export class History {
  constructor() {
    /** @type {Step[]} */
    this.past = [];
    /** @type {Step[]} */
    this.future = [];
    this.isReplaying = false;
    /** @type {(() => void)[]} */
    this.listeners = [];
  }

  /** @param {Step} step that was just done */
  add(step) {
    if (this.isReplaying) return;
    this.past.push(step);
    this.past.splice(0, this.past.length - MOST);
    this.future = [];
    for (const listener of this.listeners) listener();
  }

  /** @returns {string} what was undone, or "" where there is nothing */
  undo() {
    return this.move(this.past, this.future, "undo");
  }

  redo() {
    return this.move(this.future, this.past, "redo");
  }

  /**
   * @param {Step[]} from
   * @param {Step[]} to
   * @param {"undo" | "redo"} way
   */
  move(from, to, way) {
    const step = from.pop();
    if (!step) return "";
    to.push(step);
    this.isReplaying = true;
    try {
      step[way]();
    } finally {
      this.isReplaying = false;
    }
    for (const listener of this.listeners) listener();
    return step.words;
  }

  /**
   * A cell whose changes can be undone.
   * @template T
   * @param {import("./state.js").Cell<T>} cell
   * @param {string} words
   * @returns {import("./state.js").Cell<T>}
   */
  recorded(cell, words) {
    const { set, ...rest } = cell;
    return {
      ...rest,
      set: (next) => {
        const before = cell.get();
        set(next);
        if (!isSame(before, next)) this.add({ words, undo: () => set(before), redo: () => set(next) });
      },
    };
  }
}

/**
 * @param {unknown} a
 * @param {unknown} b
 */
function isSame(a, b) {
  return a === b || (Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((value, i) => value === b[i]));
}
