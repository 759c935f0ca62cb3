/** What is chosen, as files: a table, and a sheet of its pictures. */

import { labelOf, predictionOf } from "./contents.js";
import { toCsv } from "./csv.js";
import { h } from "./dom.js";
import { thumbnailPixels, paint } from "./pictures.js";

const MOST = 2000; // pictures of a sheet
const CELL = 64; // pixels of one
const TEXT = 14;

/**
 * Names, places on the map that is shown, and columns of what is selected.
 * @param {import("./state.js").App} app
 * @param {number} projection
 */
export function selectionCsv({ contents, labels, selection }, projection) {
  const found = contents.header.has_predictions ? ["prediction", "probability"] : ["loss"];
  const { header } = contents;
  const { name, dims, points } = contents.projections[projection];
  const axes = ["x", "y", "z"].slice(0, dims);
  const rows = selection.get().map((at) => [
    header.names[at],
    ...axes.map((_, d) => String(points[at * dims + d])),
    ...(header.has_labels ? [labelOf(contents, at)] : []),
    String(contents.cluster[at] + 1),
    ...(header.has_predictions ? [predictionOf(contents, at), String(contents.probability[at])] : [String(contents.loss[at])]),
    labels.of.get(at) ?? "",
  ]);
  const titles = ["filename", ...axes.map((axis) => `${name} ${axis}`), ...(header.has_labels ? ["label"] : []), "cluster", ...found, "my label"];
  return toCsv([titles, ...rows]);
}

/**
 * A PNG of at most 2,000 pictures, each above its label or name.
 * @param {import("./state.js").App} app
 * @returns {Promise<Blob>}
 */
export async function contactSheet(app) {
  const points = app.selection.get().slice(0, MOST);
  const columns = Math.ceil(Math.sqrt(points.length * 1.2));
  const canvas = h("canvas", { width: columns * (CELL + 4) + 4, height: Math.ceil(points.length / columns) * (CELL + TEXT + 4) + 4 });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  Object.assign(context, { fillStyle: "#ffffff" }).fillRect(0, 0, canvas.width, canvas.height);
  Object.assign(context, { fillStyle: "#211d1a", font: "11px system-ui, sans-serif", imageSmoothingEnabled: false });
  for (const [i, at] of points.entries()) {
    const { pixels, shape, white } = await thumbnailPixels(app, at);
    const [, height, width] = shape;
    const scale = CELL / Math.max(height, width);
    const [x, y] = [4 + (i % columns) * (CELL + 4), 4 + Math.floor(i / columns) * (CELL + TEXT + 4)];
    context.drawImage(paint(h("canvas"), pixels, shape, white), x, y, width * scale, height * scale);
    const words = app.labels.of.get(at) ?? app.contents.header.names[at].split("/").at(-1) ?? "";
    context.fillText(words.slice(0, 40), x, y + CELL + 11, CELL);
  }
  return new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("no room for the sheet")))));
}
