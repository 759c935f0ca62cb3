/** Where points of a map are seen: pan, zoom, turn, and the way from one map to another. */

const MARGIN = 0.92;

export class Camera {
  constructor() {
    this.width = 1; // pixels
    this.height = 1;
    this.x = 0; // the place of the map in the middle
    this.y = 0;
    this.zoom = 1;
    this.yaw = 0; // of a map in space
    this.pitch = 0;
    this.home();
  }

  /** The whole map. */
  home() {
    Object.assign(this, { x: 0, y: 0, zoom: 1, yaw: 0.6, pitch: 0.4 });
  }

  get scale() {
    return (Math.min(this.width, this.height) / 2) * MARGIN * this.zoom;
  }

  /**
   * Places of the map to pixels.
   * @param {Float32Array} map (N, 3) in [-1, 1]
   * @param {number} depth from 0, a plane, to 1, in space
   * @param {Float32Array} seen (N, 3) to write to
   */
  project(map, depth, seen) {
    const { scale } = this;
    const [yaw, pitch] = [this.yaw * depth, this.pitch * depth];
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const [left, top] = [this.width / 2 - this.x * scale, this.height / 2 + this.y * scale];
    for (let i = 0; i < map.length; i += 3) {
      const [x, y, z] = [map[i], map[i + 1], map[i + 2] * depth];
      const turned = cy * x + sy * z;
      const far = cy * z - sy * x;
      seen[i] = left + turned * scale;
      seen[i + 1] = top - (cp * y - sp * far) * scale;
      seen[i + 2] = depth ? -Math.tanh((cp * far + sp * y) / 2) : 0;
    }
  }

  /**
   * A pixel's place on a map that is a plane.
   * @param {number} px
   * @param {number} py
   */
  unproject(px, py) {
    return [this.x + (px - this.width / 2) / this.scale, this.y - (py - this.height / 2) / this.scale];
  }

  /**
   * @param {number} dx pixels
   * @param {number} dy
   * @param {boolean} turn instead of moving
   */
  drag(dx, dy, turn) {
    if (turn) {
      this.yaw += dx / 150;
      this.pitch = Math.max(-1.5, Math.min(1.5, this.pitch + dy / 150));
    } else {
      this.x -= dx / this.scale;
      this.y += dy / this.scale;
    }
  }

  /**
   * Zoom with a pixel held in its place.
   * @param {number} factor
   * @param {number} [px]
   * @param {number} [py]
   */
  zoomBy(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.unproject(px, py);
    this.zoom = Math.max(0.5, Math.min(200, this.zoom * factor));
    const [x2, y2] = this.unproject(px, py);
    this.x += x - x2;
    this.y += y - y2;
  }
}

/**
 * Points of any map in [-1, 1]³, the middle of their ranges in its middle.
 * @param {import("./contents.js").Projection} projection
 */
export function normalized({ points, dims }) {
  const least = new Float32Array(3).fill(Infinity);
  const most = new Float32Array(3).fill(-Infinity);
  points.forEach((value, i) => {
    const d = i % dims;
    least[d] = Math.min(least[d], value);
    most[d] = Math.max(most[d], value);
  });
  const half = Math.max(...[0, 1].map((d) => (most[d] - least[d]) / 2)) || 1;
  const middle = [0, 1, 2].map((d) => (d < dims ? (least[d] + most[d]) / 2 : 0));
  const map = new Float32Array((points.length / dims) * 3);
  for (let i = 0; i < map.length / 3; i++) {
    for (let d = 0; d < dims; d++) map[3 * i + d] = (points[i * dims + d] - middle[d]) / half;
  }
  return map;
}

/**
 * Whether a pixel is inside a closed path (even-odd rule).
 * @param {number[][]} path
 * @param {number} x
 * @param {number} y
 */
export function isInside(path, x, y) {
  let inside = false;
  for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [path[i], path[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
