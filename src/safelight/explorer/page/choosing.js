/** Choosing images: anew, added or taken away; one after another; their neighbours. */

import { nearest } from "./codes.js";
import { codeOf } from "./contents.js";
import { announce } from "./dom.js";

/** @typedef {"new" | "add" | "take"} Mode */

/** @typedef {ReturnType<typeof makeChoosing>} Choosing */

/**
 * @param {Pick<import("./state.js").App, "contents" | "labels" | "picked" | "selection">} app
 * @param {() => Mode} usual what is meant without a key
 */
export function makeChoosing({ contents, labels, picked, selection }, usual) {
  /** @param {number[]} points @param {Mode} mode */
  function choose(points, mode) {
    const before = mode === "new" ? [] : selection.get();
    const given = new Set(points);
    selection.set(mode === "take" ? before.filter((at) => !given.has(at)) : [...new Set([...before, ...points])]);
    announce(`${selection.get().length.toLocaleString("en")} images are chosen`);
  }

  return {
    choose,

    /** What a press means: Shift adds, Alt takes away. @param {{shiftKey: boolean, altKey: boolean}} event */
    mode: ({ shiftKey, altKey }) => /** @type {Mode} */ (shiftKey ? "add" : altKey ? "take" : usual()),

    /** A point that is clicked; a second click lets it go. @param {number} at @param {Mode} mode */
    pick(at, mode) {
      const chosen = selection.get();
      const isAlone = mode === "new" && chosen.length === 1 && chosen[0] === at && picked.get() === at;
      picked.set(isAlone || mode === "take" ? -1 : at);
      choose([at], isAlone || (mode === "add" && chosen.includes(at)) ? "take" : mode);
    },

    /** The next of those that are chosen, or the one before. @param {number} by */
    step(by) {
      const chosen = selection.get();
      if (!chosen.length) return announce("Nothing is chosen");
      const at = chosen.indexOf(picked.get());
      picked.set(chosen[at < 0 ? (by > 0 ? 0 : chosen.length - 1) : (at + by + chosen.length) % chosen.length]);
    },

    /** A point and those whose codes are nearest to it. @param {number} at @param {number} count */
    around(at, count) {
      const near = nearest(contents.codes, contents.header.latent, codeOf(contents, at), count, at);
      choose([at, ...near.map((other) => other.at)], "new");
    },

    /** What is about to be labelled: the picked one of those that are chosen, else all of these. */
    meant() {
      const [chosen, at] = [selection.get(), picked.get()];
      return at >= 0 && (chosen.length < 2 || chosen.includes(at)) ? [at] : chosen;
    },

    /** Label by a key, and go on to the next. @param {string} text */
    label(text) {
      const points = this.meant();
      if (!points.length) return announce("Choose images first");
      labels.set(points, text);
      announce(`${points.length === 1 ? contents.header.names[points[0]] : `${points.length.toLocaleString("en")} images`}: ${text || "no label"}`);
      if (points.length === 1 && selection.get().length > 1) this.step(1);
    },
  };
}
