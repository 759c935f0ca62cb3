/** The map as a table: of what is chosen, else of all points; searched by name, sorted by any column. */

import { labelOf, predictionOf } from "./contents.js";
import { button, h } from "./dom.js";
import { pointButton } from "./point_panel.js";

const ROWS = 20;

/** @param {import("./state.js").App} app */
export function tablePanel(app) {
  const { contents, labels, choosing } = app;
  const { header } = contents;
  let page = 0;
  let isOpen = false;
  /** @type {{name: string, value: (at: number) => string | number, shown?: (at: number) => string}[]} */
  const columns = [
    { name: "Name", value: (at) => header.names[at] },
    ...(header.has_labels ? [{ name: "Label", value: (/** @type {number} */ at) => labelOf(contents, at) }] : []),
    { name: "My label", value: (at) => labels.of.get(at) ?? "" },
    { name: "Cluster", value: (at) => contents.cluster[at] + 1 },
    ...(header.has_predictions
      ? [
          { name: "Prediction", value: (/** @type {number} */ at) => predictionOf(contents, at) },
          { name: "Probability", value: (/** @type {number} */ at) => contents.probability[at], shown: (/** @type {number} */ at) => contents.probability[at].toFixed(3) },
        ]
      : [{ name: "Loss", value: (/** @type {number} */ at) => contents.loss[at], shown: (/** @type {number} */ at) => contents.loss[at].toFixed(1) }]),
  ];
  /** @type {{column: number, sign: 1 | -1} | null} */
  let order = header.has_predictions ? { column: columns.length - 1, sign: 1 } : null; // the least sure first
  const heads = columns.map(({ name }, column) => {
    const sort = button(name, () => {
      order = { column, sign: order?.column === column && order.sign > 0 ? -1 : 1 };
      heads.forEach((head, i) => head.setAttribute("aria-sort", i !== column ? "none" : order?.sign === 1 ? "ascending" : "descending"));
      turn(-page);
    }, { className: "link" });
    return h("th", { scope: "col", "aria-sort": order?.column === column ? "ascending" : "none" }, sort);
  });
  const caption = h("caption");
  const body = h("tbody");
  const back = button("Previous", () => turn(-1));
  const forth = button("Next", () => turn(1));
  const search = h("input", { type: "search", id: "search", autocomplete: "off" });
  const all = h("button", { type: "button" }, "Choose those found");
  all.addEventListener("click", (event) => choosing.choose(found(), choosing.mode(event)));
  search.addEventListener("input", () => turn(-page));

  /** The points whose name, or label of one's own, holds what is searched; all that are chosen without a search. */
  function found() {
    const wanted = search.value.trim().toLowerCase();
    const chosen = app.selection.get();
    const points = wanted || !chosen.length ? Array.from(header.names.keys()) : [...chosen];
    return wanted
      ? points.filter((at) => header.names[at].toLowerCase().includes(wanted) || labels.of.get(at)?.toLowerCase().includes(wanted))
      : points;
  }
  function sorted() {
    const points = found();
    if (!order) return points;
    const { sign } = order;
    const { value } = columns[order.column];
    const collator = new Intl.Collator("en", { numeric: true });
    const compare = (/** @type {string | number} */ a, /** @type {string | number} */ b) =>
      typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
    return points.map((at) => ({ at, key: value(at) })).sort((a, b) => sign * compare(a.key, b.key) || a.at - b.at).map(({ at }) => at);
  }

  /** @param {number} by */
  function turn(by) {
    page += by;
    show();
  }
  function show() {
    if (!isOpen) return;
    const points = sorted();
    const pages = Math.max(1, Math.ceil(points.length / ROWS));
    page = Math.max(0, Math.min(pages - 1, page));
    const rows = points.slice(page * ROWS, (page + 1) * ROWS);
    const what = search.value.trim() ? "found" : app.selection.get().length ? "chosen" : "all";
    const span = rows.length ? `${page * ROWS + 1} to ${page * ROWS + rows.length} of ` : "";
    caption.textContent = `${span}${what} ${points.length.toLocaleString("en")} points${header.has_predictions ? "" : "; losses in nats"}`;
    body.replaceChildren(
      ...rows.map((at) =>
        h(
          "tr",
          {},
          h("td", {}, pointButton(app, at)),
          ...columns.map(({ value, shown }, i) => h(i ? "td" : "th", i ? {} : { scope: "row" }, shown ? shown(at) : String(value(at)))),
        ),
      ),
    );
    all.hidden = !search.value.trim();
    back.disabled = page === 0;
    forth.disabled = page === pages - 1;
  }
  app.selection.watch(() => turn(-page));
  labels.listeners.push(show);
  const element = h(
    "div",
    {},
    h("div", { className: "row" }, h("label", { for: search.id }, "Name holds"), search, all),
    h("div", { className: "row" }, back, forth),
    h(
      "div",
      { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Table of points" },
      h("table", {}, caption, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Image"), ...heads)), body),
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
