/** Labels that a reader gives: by name, so that those of images this page does not hold are kept too. */

import { fromCsv, toCsv } from "./csv.js";

const NAMES = ["filename", "file", "name", "image"];
const LABELS = ["label", "class"];
const NO_LABEL = ["", "na", "n/a", "#n/a", "nan", "none", "null", "-", "?", "-1"]; // what finetune takes for unknown

/**
 * @typedef {Record<string, [string, string]>} Changes names, each with its label before and after; "" for none
 * @typedef {{kept: Map<string, string>, past: Changes[]}} Kept
 * @typedef {object} Keeper
 * @property {string} words where labels are kept
 * @property {() => Promise<Kept>} load
 * @property {(changes: Changes, isUndo: boolean) => void} keep
 * @property {() => string} fault why what was given is not kept, or ""
 * @property {() => boolean} isIdle whether all that was given is kept
 * @property {boolean} isServer whether the page's server keeps them
 * @property {boolean} isLasting whether they outlive the browser's own files
 * @property {(listener: () => void) => void} watch others changed them, or a fault came or went
 */

/** Which images have which label. */
export class Labels {
  /**
   * @param {string[]} names of the page's images
   * @param {Keeper} keeper
   * @param {import("./history.js").History} history
   */
  constructor(names, keeper, history) {
    this.names = names.map((name) => name.normalize("NFC"));
    this.keeper = keeper;
    this.history = history;
    this.place = new Map(this.names.map((name, at) => [name, at]));
    /** @type {Map<string, string>} by name, the set's other images among them */
    this.all = new Map();
    /** @type {Map<number, string>} by point */
    this.of = new Map();
    this.fault = "";
    this.isDownloaded = true; // nothing was given in this visit that no download holds
    /** @type {(() => void)[]} */
    this.listeners = [];
    keeper.watch(() => void this.load(false));
    addEventListener("beforeunload", (event) => {
      if (!this.isDownloaded && !(keeper.isLasting && keeper.isIdle())) event.preventDefault();
    });
  }

  /**
   * Take what is kept.
   * @param {boolean} [isFirst] then what was changed before can be undone too
   */
  async load(isFirst = true) {
    try {
      const { kept, past } = await this.keeper.load();
      this.all = kept;
      this.of.clear();
      for (const [name, text] of kept) this.index(name, text);
      if (isFirst) past.forEach((changes) => this.remember(changes));
      this.fault = "";
    } catch (error) {
      this.fault = `Labels cannot be read: ${/** @type {Error} */ (error).message}. Is safelight explore still running?`;
    }
    for (const listener of this.listeners) listener();
  }

  /**
   * @param {string} name
   * @param {string} text
   */
  index(name, text) {
    const at = this.place.get(name);
    if (at === undefined) return;
    if (text) this.of.set(at, text);
    else this.of.delete(at);
  }

  /**
   * Label points, or with an empty text remove their labels.
   * @param {number[]} points
   * @param {string} text
   */
  set(points, text) {
    this.give(points.map((at) => [this.names[at], text]));
  }

  /** @param {[string, string][]} wanted names and labels */
  give(wanted) {
    /** @type {Changes} */
    const changes = Object.create(null);
    for (const [name, text] of wanted) {
      const before = this.all.get(name) ?? "";
      if (before !== text) changes[name] = [before, text];
    }
    if (!Object.keys(changes).length) return;
    this.remember(changes);
    this.apply(changes, false);
  }

  /** @param {Changes} changes to be undone and done again */
  remember(changes) {
    const back = Object.fromEntries(Object.entries(changes).map(([name, [before, after]]) => [name, /** @type {[string, string]} */ ([after, before])]));
    const count = Object.keys(changes).length;
    this.history.add({
      words: `${count.toLocaleString("en")} ${count === 1 ? "label" : "labels"}`,
      undo: () => this.apply(back, true),
      redo: () => this.apply(changes, false),
    });
  }

  /**
   * Make changes; undo them where nothing else came between.
   * @param {Changes} changes
   * @param {boolean} isUndo
   */
  apply(changes, isUndo) {
    for (const [name, [before, after]] of Object.entries(changes)) {
      if (isUndo && (this.all.get(name) ?? "") !== before) continue;
      if (after) this.all.set(name, after);
      else this.all.delete(name);
      this.index(name, after);
    }
    this.isDownloaded = false;
    this.keeper.keep(changes, isUndo);
    for (const listener of this.listeners) listener();
  }

  /** Labels and how many points have each, in the order in which they were first given. */
  counts() {
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const text of this.all.values()) counts.set(text, counts.get(text) ?? 0);
    for (const text of this.of.values()) counts.set(text, (counts.get(text) ?? 0) + 1);
    return [...counts];
  }

  /** The label that a number key gives: the class of that name where all are single digits, else by its order. */
  ofKey(/** @type {string} */ key) {
    const known = this.counts().map(([text]) => text);
    return known.every((text) => /^\d$/.test(text)) ? key : (known[(Number(key) + 9) % 10] ?? "");
  }

  /** The number key of a label, or "". */
  keyOf(/** @type {string} */ text) {
    return [..."1234567890"].find((key) => this.ofKey(key) === text) ?? "";
  }

  /** Whether a text can be a label, as finetune takes some for unknown. */
  isLabel(/** @type {string} */ text) {
    return !NO_LABEL.includes(text.toLowerCase());
  }

  /** The table of filename and label, also of images that this page does not hold. */
  csv() {
    const here = this.names.filter((name) => this.all.has(name));
    const others = [...this.all.keys()].filter((name) => !this.place.has(name));
    return tableOf(new Map([...here, ...others].map((name) => [name, /** @type {string} */ (this.all.get(name))])));
  }

  /**
   * Add the labels of such a table; names without a label are images to be labelled.
   * @param {string} text
   * @returns {{words: string, chosen: number[]}} what came of it, and which points to choose
   */
  read(text) {
    const rows = rowsOf(text);
    const here = rows.filter(([name]) => this.place.has(name));
    if (!here.length) {
      const words = `Expected a table of filename and label for the images of this page, got none of their names \
in ${rows.length} rows; it may belong to another set.`;
      return { words, chosen: [] };
    }
    const given = rows.filter(([, label]) => label);
    this.give(given);
    const chosen = here.filter(([, label]) => !label).map(([name]) => /** @type {number} */ (this.place.get(name)));
    const parts = [`${given.length.toLocaleString("en")} labels read.`];
    if (chosen.length) parts.push(`${chosen.length.toLocaleString("en")} images without a label are chosen.`);
    const left = rows.length - here.length;
    if (left) parts.push(`${left.toLocaleString("en")} rows are of images that this page does not hold.`);
    return { words: parts.join(" "), chosen };
  }
}

/** @param {Map<string, string>} labels by name */
export function tableOf(labels) {
  return toCsv([["filename", "label"], ...labels]);
}

/**
 * Names and labels of a table; "" for no label.
 * @param {string} text
 * @returns {[string, string][]}
 */
export function rowsOf(text) {
  const rows = fromCsv(text);
  const titles = (rows[0] ?? []).map((title) => title.trim().toLowerCase());
  let [name, label] = [NAMES, LABELS].map((known) => titles.findIndex((title) => known.includes(title)));
  if (name >= 0) rows.shift();
  else [name, label] = [0, 1];
  return rows.map((row) => {
    const given = (row[label] ?? "").trim();
    return [(row[name] ?? "").trim().normalize("NFC"), NO_LABEL.includes(given.toLowerCase()) ? "" : given];
  });
}
