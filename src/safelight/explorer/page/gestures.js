/** From pointer and keys to what is meant on the map. */

/**
 * @typedef {"move" | "walk" | "lasso"} Tool
 * @typedef {object} Meanings
 * @property {() => Tool} tool
 * @property {(at: number, x: number, y: number) => void} hover a point, or -1
 * @property {(at: number, mode: import("./choosing.js").Mode) => void} pick a point
 * @property {(at: number) => void} look at a point, by keys
 * @property {(at: number) => void} toggle whether a point is chosen
 * @property {(event: {shiftKey: boolean, altKey: boolean}) => import("./choosing.js").Mode} mode
 * @property {(code: Float32Array, isStart: boolean) => void} between a place between points
 * @property {(a: Float32Array, b: Float32Array) => void} walk
 * @property {(points: number[], mode: import("./choosing.js").Mode) => void} lasso
 * @property {(at: number) => void} end the next end of a walk
 * @property {() => void} clear
 */

import { codeOf } from "./contents.js";

const STILL = 5; // pixels that a click may move
const PAN = 60; // pixels that a key moves the map
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * @param {import("./map.js").LatentMap} map
 * @param {Meanings} meant
 */
export function listen(map, meant) {
  const target = map.overlay;
  /** @type {Map<number, number[]>} */
  const fingers = new Map();
  /** @type {{x: number, y: number, tool: Tool, mode: import("./choosing.js").Mode, moved: boolean, isPinch: boolean} | null} */
  let press = null;

  const codeAt = (/** @type {number} */ x, /** @type {number} */ y) => {
    const at = map.pointAt(x, y);
    return at >= 0 ? codeOf(map.contents, at) : map.codeAt(x, y);
  };
  target.addEventListener("pointerdown", (event) => {
    target.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    const tool = event.shiftKey || event.altKey ? "lasso" : meant.tool();
    const isPinch = fingers.size > 1;
    press = { x: event.offsetX, y: event.offsetY, tool, mode: meant.mode(event), moved: isPinch, isPinch };
    if (isPinch) map.lasso = [];
    meant.hover(-1, 0, 0);
  });
  target.addEventListener("pointermove", (event) => {
    const [x, y] = [event.offsetX, event.offsetY];
    const before = fingers.get(event.pointerId);
    if (!press || !before) {
      if (event.pointerType !== "touch") meant.hover(map.pointAt(x, y), x, y);
      return;
    }
    press.moved ||= Math.hypot(x - press.x, y - press.y) > STILL;
    const ratio = map.ratio ?? 1;
    if (fingers.size === 2) {
      const other = /** @type {number[]} */ ([...fingers].find(([id]) => id !== event.pointerId)?.[1]);
      const spread = (/** @type {number[]} */ [u, v]) => Math.hypot(u - other[0], v - other[1]);
      map.camera.zoomBy(spread([x, y]) / (spread(before) || 1), other[0] * ratio, other[1] * ratio);
    } else if (press.isPinch) {
      // One finger of two is left: it means nothing more.
    } else if (press.moved && press.tool === "lasso") {
      if (!map.lasso.length) map.lasso.push([press.x, press.y]);
      map.lasso.push([x, y]);
    } else if (press.moved && press.tool === "walk" && !map.isSpace) {
      meant.between(codeAt(x, y), false);
      map.path = [];
      map.marks = [
        { name: "A", place: [...map.camera.unproject(press.x * ratio, press.y * ratio), 0] },
        { name: "B", place: [...map.camera.unproject(x * ratio, y * ratio), 0] },
      ];
    } else if (press.moved) {
      map.camera.drag((x - before[0]) * ratio, (y - before[1]) * ratio, map.isSpace);
    }
    fingers.set(event.pointerId, [x, y]);
    map.redraw();
  });
  const release = (/** @type {PointerEvent} */ event) => {
    fingers.delete(event.pointerId);
    if (!press || fingers.size) return;
    const { x, y, tool, mode, moved, isPinch } = press;
    press = null;
    if (event.type === "pointercancel" || isPinch) {
      map.lasso = [];
    } else if (!moved) {
      const at = map.pointAt(x, y);
      if (at >= 0) {
        meant.pick(at, mode);
        if (event.pointerType === "touch") meant.hover(at, x, y); // the panel may be below the fold
      } else if (!map.isSpace) meant.between(map.codeAt(x, y), true);
    } else if (tool === "lasso") {
      const points = map.lassoed();
      map.lasso = [];
      meant.lasso(points, mode);
    } else if (tool === "walk" && !map.isSpace) {
      meant.walk(codeAt(x, y), codeAt(event.offsetX, event.offsetY));
    }
    map.redraw();
  };
  target.addEventListener("pointerup", release);
  target.addEventListener("pointercancel", release);
  target.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") meant.hover(-1, 0, 0);
  });
  target.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const ratio = map.ratio ?? 1;
      map.camera.zoomBy(Math.exp(-event.deltaY / 400), event.offsetX * ratio, event.offsetY * ratio);
      map.redraw();
    },
    { passive: false },
  );
  target.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { camera } = map;
    if (event.key in ARROWS && event.shiftKey) {
      const [x, y] = ARROWS[event.key].map((by) => -by * PAN * (map.ratio ?? 1));
      camera.drag(x, y, map.isSpace);
    } else if (event.key in ARROWS) {
      const start = map.pointAt(target.clientWidth / 2, target.clientHeight / 2);
      meant.look(map.picked < 0 ? Math.max(0, start) : map.neighbour(map.picked, ...ARROWS[event.key]));
    } else if (event.key === " " && map.picked >= 0) meant.toggle(map.picked);
    else if (event.key === "Enter" && map.picked >= 0) meant.end(map.picked);
    else if (event.key === "+" || event.key === "=") camera.zoomBy(1.25);
    else if (event.key === "-") camera.zoomBy(0.8);
    else if (event.key === "Home") camera.home();
    else if (event.key === "Escape") meant.clear();
    else return;
    event.preventDefault();
    map.redraw();
  });
}
