/** The map as a table: of what is selected, else of all points. */

import { button, h } from "./dom.js";
import { pointButton } from "./point_panel.js";

const ROWS = 20;

/** @param {import("./state.js").App} app */
export function tablePanel(app) {
  const { contents, labels } = app;
  const { header } = contents;
  let page = 0;
  let isOpen = false;
  const titles = ["Image", "Name", ...(header.has_labels ? ["Label"] : []), "My label", "Cluster", "Loss"];
  const caption = h("caption");
  const body = h("tbody");
  const back = button("Previous", () => turn(-1));
  const forth = button("Next", () => turn(1));

  /** @param {number} by */
  function turn(by) {
    page += by;
    show();
  }
  function show() {
    if (!isOpen) return;
    const selection = app.selection.get();
    const count = selection.length || header.n;
    const pages = Math.ceil(count / ROWS);
    page = Math.max(0, Math.min(pages - 1, page));
    const first = page * ROWS;
    const rows = Array.from({ length: Math.min(ROWS, count - first) }, (_, i) => selection[first + i] ?? first + i);
    const what = selection.length ? "selected" : "all";
    caption.textContent = `${first + 1} to ${first + rows.length} of ${what} ${count.toLocaleString("en")} points; losses in nats`;
    body.replaceChildren(
      ...rows.map((at) =>
        h(
          "tr",
          {},
          h("td", {}, pointButton(app, at)),
          h("th", { scope: "row" }, header.names[at]),
          ...(header.has_labels ? [h("td", {}, contents.label[at] < 0 ? "" : String(contents.label[at]))] : []),
          h("td", {}, labels.of.get(at) ?? ""),
          h("td", {}, String(contents.cluster[at] + 1)),
          h("td", {}, contents.loss[at].toFixed(1)),
        ),
      ),
    );
    back.disabled = page === 0;
    forth.disabled = page === pages - 1;
  }
  app.selection.watch(() => turn(-page));
  labels.listeners.push(show);
  const element = h(
    "div",
    {},
    h("div", { className: "row" }, back, forth),
    h(
      "div",
      { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Table of points" },
      h("table", {}, caption, h("thead", {}, h("tr", {}, ...titles.map((title) => h("th", { scope: "col" }, title)))), body),
    ),
  );
  return {
    element,
    toggle: (/** @type {boolean} */ open) => {
      isOpen = open;
      show();
    },
  };
}
