/** Label here: what is chosen, the labels given so far, and both as files. */

import { announce, button, download, h } from "./dom.js";
import { browserKeeper } from "./keepers.js";
import { describe } from "./point_panel.js";
import { frame, thumbnail } from "./pictures.js";
import { contactSheet, selectionCsv } from "./selection_files.js";

const SHOWN = 120;
const UNKNOWN = "finetune takes this for an unknown label: choose another name.";

/**
 * @param {import("./state.js").App} app
 * @param {() => number} projection which is shown
 * @param {() => import("./palette.js").Colouring} colouring likewise
 */
export function labelPanel(app, projection, colouring) {
  const { labels, choosing } = app;
  const title = h("h3", {}, "");
  const classes = h("p", { className: "muted" });
  const grid = h("div", { className: "grid small" });
  const rest = h("p", { className: "muted" });
  const note = h("p", { className: "muted", role: "status" });
  const fault = h("p", { className: "fault", role: "alert", hidden: true });
  const known = h("datalist", { id: "known-labels" });
  const text = h("input", { type: "text", id: "label-text", maxLength: 200, list: known.id, autocomplete: "off" });
  const table = h("tbody");
  const titles = ["Key", "Label", "Images"].map((name) => h("th", { scope: "col" }, name));
  const given = h("table", {}, h("caption", {}, "Labels given here"), h("thead", {}, h("tr", {}, ...titles)), table);
  const elsewhere = h("p", { className: "muted" });
  const current = h("div", { className: "current" });

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
    if (label && !labels.isLabel(label)) {
      note.textContent = UNKNOWN;
      return announce(UNKNOWN);
    }
    const points = app.selection.get();
    labels.set(points, label);
    const count = points.length.toLocaleString("en");
    note.textContent = label ? `${count} images are now ${label}.` : `${count} images have no label of yours.`;
    announce(note.textContent);
    text.value = "";
  }

  const file = h("input", { type: "file", accept: ".csv,.tsv,.txt,text/csv" });
  file.addEventListener("change", async () => {
    const table = file.files?.[0];
    if (!table) return;
    const { words, chosen } = table.size > 64e6 ? { words: "Expected a table of at most 64 MB.", chosen: [] } : labels.read(await table.text());
    if (chosen.length) choosing.choose(chosen, "new");
    if (chosen.length) app.picked.set(chosen[0]);
    note.textContent = words;
    announce(words);
    file.value = "";
  });

  const count = h("input", { type: "number", id: "near-count", min: 1, max: 999, value: "20", "aria-label": "how many of its nearest" });
  const near = button("Choose it and its nearest", () => {
    const at = app.picked.get();
    choosing.around(at < 0 ? app.selection.get()[0] : at, Math.max(1, Math.min(999, Math.round(count.valueAsNumber) || 20)));
  });

  function showCurrent() {
    const at = app.picked.get();
    const chosen = app.selection.get();
    near.disabled = at < 0 && !chosen.length;
    if (at < 0) return current.replaceChildren();
    const place = chosen.indexOf(at);
    const words = describe(app, at);
    current.replaceChildren(
      h("figure", {}, thumbnail(app, at, frame("the image"))),
      h(
        "div",
        {},
        h("p", {}, h("strong", {}, words[0]), h("br"), words.slice(1).join(" · ")),
        h(
          "div",
          { className: "row" },
          button("Previous", () => choosing.step(-1)),
          button("Next", () => choosing.step(1)),
          ...(place < 0 ? [] : [button("Take it out", () => choosing.pick(at, "take"))]),
        ),
        h("p", { className: "muted" }, place < 0 ? "" : `${(place + 1).toLocaleString("en")} of ${chosen.length.toLocaleString("en")}. Keys: N and P go on and back, numbers label, Delete takes the label away.`),
      ),
    );
  }

  function showSelection() {
    const points = app.selection.get();
    title.textContent = points.length ? `${points.length.toLocaleString("en")} chosen` : "Nothing is chosen";
    rest.textContent = !points.length
      ? "Draw around points with the lasso, click one or a class of the legend, or open a table. Shift adds, Alt takes away."
      : points.length > SHOWN ? `${SHOWN} of them are shown. ` : "A click shows an image, Alt takes it out.";
    form.hidden = !points.length;
    for (const each of [keep, sheet]) each.disabled = !points.length;
    grid.replaceChildren(
      ...points.slice(0, SHOWN).map((at) => {
        const image = h("button", { type: "button", className: "image", "aria-label": describe(app, at).join(", ") }, thumbnail(app, at));
        image.addEventListener("click", (event) => (event.altKey ? choosing.pick(at, "take") : app.picked.set(at)));
        const own = labels.of.get(at);
        if (own) image.append(h("span", { className: "tag", "aria-hidden": "true" }, own));
        return image;
      }),
    );
    showClasses();
    showCurrent();
  }
  function showClasses() {
    const { groups, legend } = colouring();
    /** @type {Map<number, number>} */
    const counts = new Map();
    for (const at of app.selection.get()) counts.set(groups[at], (counts.get(groups[at]) ?? 0) + 1);
    const words = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 30).map(([group, n]) => `${legend[group].name}: ${n.toLocaleString("en")}`);
    classes.textContent = words.length ? `By the map's colours: ${words.join(" · ")}` : "";
  }
  /** @type {[string, string][]} */
  let earlier = [];
  const more = button("", () => labels.give(earlier.filter(([name]) => !labels.all.has(name))), { hidden: true });
  if (labels.keeper.isServer) {
    void browserKeeper(app.contents.header.fingerprint).load().then(({ kept }) => {
      earlier = [...kept];
      showLabels();
    });
  }

  function showLabels() {
    const counts = labels.counts();
    given.hidden = !counts.length;
    table.replaceChildren(
      ...counts.map(([label, count]) => {
        const own = () => [...labels.of].filter(([, own]) => own === label).map(([at]) => at);
        const choose = h("button", { type: "button", className: "link" }, label);
        choose.addEventListener("click", (event) => choosing.choose(own(), choosing.mode(event)));
        return h("tr", {}, h("td", {}, h("kbd", {}, labels.keyOf(label))), h("td", {}, choose), h("td", {}, count.toLocaleString("en")));
      }),
    );
    known.replaceChildren(...counts.map(([label]) => h("option", { value: label })));
    save.disabled = !counts.length;
    const others = labels.all.size - labels.of.size;
    elsewhere.textContent = `Kept in ${labels.keeper.words}.${others ? ` ${others.toLocaleString("en")} labels are of images that this page does not hold; they are kept too.` : ""}`;
    fault.textContent = labels.keeper.fault() || labels.fault;
    const missing = earlier.filter(([name]) => !labels.all.has(name));
    more.hidden = !missing.length;
    more.textContent = `Add ${missing.length.toLocaleString("en")} labels that this browser kept before`;
    fault.hidden = !fault.textContent;
    showSelection();
  }

  const save = button("Download labels.csv", () => {
    download("labels.csv", new Blob([labels.csv()], { type: "text/csv" }));
    labels.isDownloaded = true;
  });
  const keep = button("Download the selection", () => download("selection.csv", new Blob([selectionCsv(app, projection())], { type: "text/csv" })));
  const sheet = button("Contact sheet", () => void contactSheet(app).then((blob) => download("selection.png", blob)));
  app.selection.watch(showSelection);
  app.picked.watch(showCurrent);
  labels.listeners.push(showLabels);
  showLabels();
  const finetune = labels.keeper.isServer ? labels.keeper.words : "labels.csv";
  const element = h(
    "div",
    {},
    fault,
    title,
    classes,
    current,
    form,
    known,
    note,
    grid,
    rest,
    h("div", { className: "row" }, near, count),
    given,
    elsewhere,
    more,
    h("div", { className: "row" }, save, keep, sheet),
    h("div", { className: "row" }, h("label", { className: "file" }, "Open a labels.csv or to_label.csv ", file)),
    h("p", { className: "muted" }, "Then: ", h("code", {}, `safelight finetune RUN IMAGES --labels ${finetune} --out runs/labelled`)),
  );
  return { element, recolour: showClasses };
}
