/** Keys that mean the same wherever the focus is, unless it is where text is written. */

import { announce } from "./dom.js";

const WRITTEN = "input:not([type=radio], [type=checkbox], [type=range], [type=file]), textarea, select";

/** @param {import("./state.js").App} app */
export function listenToKeys({ history, choosing, labels }) {
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof Element && event.target.matches(WRITTEN)) return;
    const key = event.key.toLowerCase();
    if (event.altKey) return;
    if (event.ctrlKey || event.metaKey) {
      if (key === "z" || key === "y") replay(key === "y" || event.shiftKey);
      else return;
    } else if (key === "n") choosing.step(1);
    else if (key === "p") choosing.step(-1);
    else if (/^\d$/.test(key) && labels.ofKey(key)) choosing.label(labels.ofKey(key));
    else if (key === "delete") choosing.label("");
    else return;
    event.preventDefault();
  });

  /** @param {boolean} isRedo */
  function replay(isRedo) {
    const words = isRedo ? history.redo() : history.undo();
    const verb = isRedo ? "do again" : "undo";
    announce(words ? `${isRedo ? "Done again" : "Undone"}: ${words}` : `Nothing to ${verb}`);
  }
  return replay;
}
