/** The page put together. */

import { readAddress, writeAddress } from "./address.js";
import { makeChoosing } from "./choosing.js";
import { colourChoice } from "./colour_choice.js";
import { codeOf, readContents } from "./contents.js";
import { announce, byId, h } from "./dom.js";
import { drawPanel } from "./draw_panel.js";
import { Engine } from "./engine.js";
import { listen } from "./gestures.js";
import { History } from "./history.js";
import { makeKeeper } from "./keepers.js";
import { listenToKeys } from "./keys.js";
import { labelPanel } from "./label_panel.js";
import { Labels } from "./labels.js";
import { LatentMap } from "./map.js";
import { frame, paint, thumbnail } from "./pictures.js";
import { describe, endButtons, pointPanel } from "./point_panel.js";
import { samplePanel } from "./sample_panel.js";
import { sliderPanel } from "./slider_panel.js";
import { cell, newest } from "./state.js";
import { tablePanel } from "./table_panel.js";
import { makeTabs } from "./tabs.js";
import { walkPanel } from "./walk_panel.js";

const PATH = 24; // places that show a walk's way

async function main() {
  const contents = await readContents();
  const { header } = contents;
  byId("title").textContent = header.title;
  const few = header.n < header.total ? `${header.n.toLocaleString("en")} of ${header.total.toLocaleString("en")}` : header.n.toLocaleString("en");
  byId("about").textContent = `${few} images of ${header.source}, ${header.has_predictions ? "features" : "codes"} of ${header.latent} dimensions`;
  if (header.has_predictions) for (const element of document.querySelectorAll(".walks")) element.remove(); // nothing is decoded

  const history = new History();
  const labels = new Labels(header.names, makeKeeper(header.fingerprint), history);
  await labels.load();

  const mode = /** @type {HTMLSelectElement} */ (byId("choosing"));
  const picked = cell(-1);
  const chosen = cell(/** @type {number[]} */ ([]));
  const selection = history.recorded(chosen, "the choice of images");

  /** @type {import("./state.js").App} */
  const app = {
    contents,
    engine: new Engine(header.shape, header.latent),
    labels,
    history,
    picked,
    choosing: makeChoosing({ contents, labels, picked, selection }, () => /** @type {import("./choosing.js").Mode} */ (mode.value)),
    code: cell(/** @type {Float32Array} */ (contents.mean.slice())),
    selection,
    ends: history.recorded(cell(/** @type {(Float32Array | null)[]} */ ([null, null])), "the ends of the walk"),
    guest: cell(/** @type {{code: Float32Array, canvas: HTMLCanvasElement} | null} */ (null)),
    open: (name) => tabs.open(name),
    opened: () => tabs.opened(),
  };
  let isShown = false; // only then does the address follow
  const map = new LatentMap(
    /** @type {HTMLCanvasElement} */ (byId("points")),
    /** @type {HTMLCanvasElement} */ (byId("map")),
    contents,
  );

  // Between points: one place of the point panel's, shown there too.
  const place = h("div", { hidden: true });
  const glimpse = frame("the image between the points");
  const glimpseEnds = h("div");
  place.append(h("h3", {}, "Between points"), h("div", { className: "pair" }, h("figure", {}, glimpse)), glimpseEnds);
  const decodeGlimpse = newest(async (/** @type {Float32Array} */ code) => {
    paint(glimpse, await app.engine.decode(code), header.shape);
  });
  const point = pointPanel(app);
  const points = h("div", {}, place, point);

  const label = labelPanel(app, () => map.chosen, () => map.colouring);
  const table = tablePanel(app);
  const decoding = () => [
    { name: "walk", title: "Walk", element: walkPanel(app) },
    { name: "sliders", title: "Sliders", ...sliderPanel(app) },
    { name: "draw", title: "Draw", element: drawPanel(app) },
    { name: "samples", title: "New", element: samplePanel(app) },
  ];
  const tabs = makeTabs(byId("tabs"), byId("panels"), [
    { name: "point", title: "Point", element: points },
    ...(header.has_predictions ? [] : decoding()),
    { name: "label", title: "Label", element: label.element },
    { name: "table", title: "Table", ...table },
  ], () => remember());
  tabs.open("point");

  app.picked.watch((at) => {
    map.picked = at;
    map.bring(at);
    map.redraw();
    place.hidden = true;
    point.hidden = false;
    if (at < 0) return;
    app.code.set(codeOf(contents, at));
    if (!["label", "table"].includes(tabs.opened())) tabs.open("point");
  });
  labels.listeners.push(() => {
    map.labelled = [...labels.of.keys()];
    map.redraw();
  });
  map.labelled = [...labels.of.keys()];
  app.selection.watch((selection) => {
    map.selection = selection.length > 1 ? selection : [];
    map.redraw();
  });
  const showMarks = () => {
    const ends = app.ends.get().map((code, i) => code && { name: "AB"[i], place: map.placeOf(code) });
    const guest = app.guest.get();
    map.marks = [
      ...ends.filter((end) => end !== null),
      ...(guest ? [{ name: "", place: map.placeOf(guest.code), picture: guest.canvas }] : []),
    ];
    map.redraw();
  };
  const steps = Array.from({ length: PATH }, (_, i) => i / (PATH - 1));
  const showWay = newest(async () => {
    const [a, b] = app.ends.get();
    const codes = a && b ? await app.engine.walk(a, b, steps) : new Float32Array();
    const { latent } = header;
    map.path = a && b ? steps.map((_, i) => map.placeOf(codes.subarray(i * latent, (i + 1) * latent))) : [];
    map.redraw();
  });
  app.ends.watch(showMarks);
  app.ends.watch(() => void showWay());
  app.guest.watch(showMarks);

  const tooltip = byId("tooltip");
  const clear = () => {
    app.picked.set(-1);
    app.selection.set([]);
    app.ends.set([null, null]);
    announce("Nothing is chosen");
  };
  listen(map, {
    tool: () => /** @type {any} */ (document.querySelector("input[name=tool]:checked"))?.value ?? "move",
    hover(at, x, y) {
      if (at !== map.hovered) {
        map.hovered = at;
        map.redraw();
        if (at >= 0) tooltip.replaceChildren(thumbnail(app, at), ...describe(app, at).map((words) => h("div", {}, words)));
      }
      tooltip.hidden = at < 0;
      tooltip.style.translate = `${Math.min(x + 14, map.overlay.clientWidth - 170)}px ${Math.min(y + 14, map.overlay.clientHeight - 150)}px`;
    },
    mode: app.choosing.mode,
    pick: app.choosing.pick,
    look(at) {
      app.picked.set(at);
      if (app.selection.get().length < 2) app.selection.set([at]);
    },
    toggle: (at) => app.choosing.choose([at], app.selection.get().includes(at) ? "take" : "add"),
    between(code, isStart) {
      if (header.has_predictions) return;
      if (isStart) app.picked.set(-1);
      place.hidden = false;
      point.hidden = true;
      tabs.open("point");
      app.code.set(code);
      glimpseEnds.replaceChildren(endButtons(app, code));
      void decodeGlimpse(code);
    },
    walk(a, b) {
      app.ends.set([a, b]);
      tabs.open("walk");
    },
    lasso(selected, how) {
      tabs.open("label");
      app.choosing.choose(selected, how);
    },
    end(at) {
      if (header.has_predictions) return;
      const [a, b] = app.ends.get();
      const isFirst = !a || Boolean(b);
      app.ends.set(isFirst ? [codeOf(contents, at), null] : [a, codeOf(contents, at)]);
      announce(isFirst ? "A is set; go on to B and press Enter" : "B is set");
      if (!isFirst) tabs.open("walk");
    },
    clear,
  });

  const projections = /** @type {HTMLSelectElement} */ (byId("projection"));
  projections.append(...contents.projections.map(({ name }, value) => h("option", { value: String(value) }, name)));
  function remember() {
    if (!isShown) return;
    const name = contents.projections[map.chosen].name;
    writeAddress(header.n, { tab: tabs.opened(), colour: colour.value, map: name, picked: picked.get(), chosen: selection.get() });
  }
  const chooseMap = () => {
    map.choose(Number(projections.value));
    byId("trust").textContent = contents.projections[map.chosen].words;
    showMarks();
    remember();
  };
  projections.addEventListener("change", chooseMap);
  const colour = /** @type {HTMLSelectElement} */ (byId("colour"));
  const colours = colourChoice(app, colour, byId("legend"), (colouring) => {
    map.colouring = colouring;
    map.redraw();
    label.recolour();
    remember();
  });
  for (const [id, factor] of /** @type {const} */ ([["closer", 1.4], ["farther", 1 / 1.4]])) {
    byId(id).addEventListener("click", () => {
      map.camera.zoomBy(factor);
      map.redraw();
    });
  }
  byId("home").addEventListener("click", () => {
    map.camera.home();
    map.redraw();
  });
  const held = [...(header.thumbnail ? ["the images"] : []), "their names", ...(header.has_labels ? ["their labels"] : [])];
  byId("notes").textContent = `This page holds ${held.join(", ")}, ${header.has_predictions ? "their features and what the classifier takes them for" : "their codes and the networks"}${header.thumbnail ? "" : " that the pictures shown are decoded by"}, and asks for nothing from anywhere${labels.keeper.isServer ? " but to keep labels" : ""}. Points are drawn by ${map.renderer.name}.`;
  const shown = readAddress(header.n);
  const mapShown = contents.projections.findIndex(({ name }) => name === shown.map);
  if (mapShown > 0) projections.value = String(mapShown);
  chooseMap();
  if (shown.colour) colours.choose(shown.colour);
  if (shown.chosen?.length) chosen.set(shown.chosen); // which is nothing to undo
  if (shown.picked !== undefined && shown.picked >= 0) picked.set(shown.picked);
  tabs.open(shown.tab ?? "point");
  isShown = true;
  for (const each of [picked, selection]) each.watch(remember);
  const replay = listenToKeys(app);
  const [undo, redo] = ["undo", "redo"].map((id) => /** @type {HTMLButtonElement} */ (byId(id)));
  undo.addEventListener("click", () => replay(false));
  redo.addEventListener("click", () => replay(true));
  const showHistory = () => {
    undo.disabled = !history.past.length;
    redo.disabled = !history.future.length;
  };
  history.listeners.push(showHistory);
  showHistory();
  byId("page").removeAttribute("aria-busy");
  Object.assign(window, { safelight: { app, map } });
  try {
    await app.engine.ready;
    byId("page").dataset.engine = "ready";
  } catch (error) {
    byId("fault").hidden = false;
    byId("fault").textContent = `${/** @type {Error} */ (error).message}`;
  }
}

main().catch((error) => {
  byId("fault").hidden = false;
  byId("fault").textContent = `This page cannot be shown: ${error.message}`;
});
