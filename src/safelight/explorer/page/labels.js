/** Labels that a reader gives: kept in the browser, written and read as the table that finetune takes. */

import { fromCsv, toCsv } from "./csv.js";

const NAMES = ["filename", "file", "name", "image"];
const LABELS = ["label", "class"];

/** Which points have which label. */
export class Labels {
  /** @param {string[]} names of the images @param {string} fingerprint of their set */
  constructor(names, fingerprint) {
    this.names = names;
    this.key = `safelight labels ${fingerprint}`;
    /** @type {Map<number, string>} */
    this.of = new Map();
    /** @type {(() => void)[]} */
    this.listeners = [];
    try {
      const kept = localStorage.getItem(this.key);
      if (kept) this.read(kept);
    } catch {
      // A browser that keeps nothing for files, or something else under our key: start without labels.
    }
  }

  /**
   * Label points, or with an empty text remove their labels.
   * @param {number[]} points
   * @param {string} text
   */
  set(points, text) {
    for (const at of points) {
      if (text) this.of.set(at, text);
      else this.of.delete(at);
    }
    this.changed();
  }

  changed() {
    try {
      localStorage.setItem(this.key, this.csv());
    } catch {
      // Full or forbidden: the labels last as long as the page.
    }
    for (const listener of this.listeners) listener();
  }

  /** Labels and how many points have each, in the order of their names. */
  counts() {
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const text of this.of.values()) counts.set(text, (counts.get(text) ?? 0) + 1);
    return [...counts].sort((a, b) => a[0].localeCompare(b[0], "en", { numeric: true }));
  }

  /** The table of filename and label. */
  csv() {
    const rows = [...this.of].sort((a, b) => a[0] - b[0]).map(([at, text]) => [this.names[at], text]);
    return toCsv([["filename", "label"], ...rows]);
  }

  /**
   * Add the labels of such a table.
   * @param {string} text
   * @returns {string} what came of it
   */
  read(text) {
    const rows = fromCsv(text);
    const titles = (rows[0] ?? []).map((title) => title.trim().toLowerCase());
    let [name, label] = [NAMES, LABELS].map((known) => titles.findIndex((title) => known.includes(title)));
    if (name >= 0 && label >= 0) rows.shift();
    else [name, label] = [0, 1];
    const place = new Map(this.names.map((known, at) => [known, at]));
    const given = rows.filter((row) => row[label]?.trim());
    const found = given.filter((row) => place.has(row[name]));
    if (!found.length) {
      return `Expected a table of filename and label for the images of this page, got none of their names \
in ${given.length} rows; it may belong to another set.`;
    }
    for (const row of found) this.of.set(/** @type {number} */ (place.get(row[name])), row[label].trim());
    this.changed();
    const left = given.length - found.length;
    return `${found.length} labels read.` + (left ? ` ${left} are of images that this page does not hold.` : "");
  }
}
