/** Label here: what the lasso or a click holds, the labels given so far, and both as files. */

import { toCsv } from "./csv.js";
import { announce, button, download, h } from "./dom.js";
import { describe } from "./point_panel.js";
import { thumbnail } from "./pictures.js";

const SHOWN = 120;

/**
 * @param {import("./state.js").App} app
 * @param {() => number} projection which is shown
 */
export function labelPanel(app, projection) {
  const { contents, labels } = app;
  const { header } = contents;
  const title = h("h3", {}, "");
  const grid = h("div", { className: "grid small" });
  const rest = h("p", { className: "muted" });
  const note = h("p", { className: "muted", role: "status" });
  const known = h("datalist", { id: "known-labels" });
  const text = h("input", { type: "text", id: "label-text", maxLength: 200, list: known.id, autocomplete: "off" });
  const table = h("tbody");
  const given = h("table", {}, h("caption", {}, "Labels given here"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Label"), h("th", { scope: "col" }, "Images"))), table);

  const form = h(
    "form",
    {},
    h("label", { for: text.id }, "Label for them"),
    h("div", { className: "row" }, text, h("button", { className: "main" }, "Label"), button("Remove labels", () => give(""))),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (text.value.trim()) give(text.value.trim());
  });

  /** @param {string} label */
  function give(label) {
    const points = app.selection.get();
    labels.set(points, label);
    const count = points.length.toLocaleString("en");
    note.textContent = label ? `${count} images are now ${label}.` : `${count} images have no label of yours.`;
    announce(note.textContent);
    text.value = "";
  }

  const file = h("input", { type: "file", accept: ".csv,.tsv,.txt,text/csv" });
  file.addEventListener("change", async () => {
    const chosen = file.files?.[0];
    if (!chosen) return;
    note.textContent = chosen.size > 64e6 ? "Expected a table of at most 64 MB." : labels.read(await chosen.text());
    announce(note.textContent);
    file.value = "";
  });

  function showSelection() {
    const points = app.selection.get();
    title.textContent = points.length ? `${points.length.toLocaleString("en")} selected` : "Nothing is selected";
    rest.textContent = !points.length
      ? "Draw around points with the lasso (or hold Shift and drag), or click one."
      : points.length > SHOWN ? `${SHOWN} of them are shown. ` : "A click on an image takes it out.";
    form.hidden = !points.length;
    keep.disabled = !points.length;
    grid.replaceChildren(
      ...points.slice(0, SHOWN).map((at) => {
        const image = button("", () => app.selection.set(app.selection.get().filter((other) => other !== at)), {
          className: "image",
          "aria-label": `take out: ${describe(app, at).join(", ")}`,
        });
        image.append(thumbnail(app, at));
        return image;
      }),
    );
  }
  function showLabels() {
    const counts = labels.counts();
    given.hidden = !counts.length;
    table.replaceChildren(
      ...counts.map(([label, count]) => {
        const choose = button(label, () => app.selection.set([...labels.of].filter(([, own]) => own === label).map(([at]) => at)), { className: "link" });
        return h("tr", {}, h("td", {}, choose), h("td", {}, count.toLocaleString("en")));
      }),
    );
    known.replaceChildren(...counts.map(([label]) => h("option", { value: label })));
    save.disabled = !counts.length;
  }

  /** Names, places on the map that is shown, and columns of what is selected. */
  function selectionCsv() {
    const { name, dims, points } = contents.projections[projection()];
    const axes = ["x", "y", "z"].slice(0, dims);
    const rows = app.selection.get().map((at) => [
      header.names[at],
      ...axes.map((_, d) => String(points[at * dims + d])),
      ...(header.has_labels ? [String(contents.label[at])] : []),
      String(contents.cluster[at] + 1),
      String(contents.loss[at]),
      labels.of.get(at) ?? "",
    ]);
    const titles = ["filename", ...axes.map((axis) => `${name} ${axis}`), ...(header.has_labels ? ["label"] : []), "cluster", "loss", "my label"];
    return toCsv([titles, ...rows]);
  }

  const save = button("Download labels.csv", () => download("labels.csv", labels.csv()));
  const keep = button("Download the selection", () => download("selection.csv", selectionCsv()));
  app.selection.watch(showSelection);
  labels.listeners.push(showLabels);
  showSelection();
  showLabels();
  return h(
    "div",
    {},
    title,
    form,
    known,
    note,
    grid,
    rest,
    given,
    h("div", { className: "row" }, save, keep),
    h("div", { className: "row" }, h("label", { className: "file" }, "Open a labels.csv ", file)),
    h("p", { className: "muted" }, "Then: ", h("code", {}, "safelight finetune RUN IMAGES --labels labels.csv --out runs/labelled")),
  );
}
