/** What is shown, in the page's address: it survives a reload and can be sent. */

/** @typedef {{tab?: string, colour?: string, map?: string, picked?: number, chosen?: number[]}} Shown */

/**
 * @param {number} n points; another page's address is none of ours
 * @returns {Shown}
 */
export function readAddress(n) {
  const found = new URLSearchParams(location.hash.slice(1));
  if (Number(found.get("of")) !== n) return {};
  const isPoint = (/** @type {number} */ at) => Number.isInteger(at) && at >= 0 && at < n;
  const picked = Number(found.get("picked") ?? -1);
  return {
    tab: found.get("tab") ?? undefined,
    colour: found.get("colour") ?? undefined,
    map: found.get("map") ?? undefined,
    picked: isPoint(picked) ? picked : -1,
    chosen: fromText(found.get("chosen") ?? "", n).filter(isPoint),
  };
}

/**
 * @param {number} n
 * @param {Shown} shown
 */
export function writeAddress(n, { tab, colour, map, picked = -1, chosen = [] }) {
  const found = new URLSearchParams({ of: String(n), tab: tab ?? "", colour: colour ?? "", map: map ?? "" });
  if (picked >= 0) found.set("picked", String(picked));
  if (chosen.length) found.set("chosen", toText(chosen, n));
  try {
    history.replaceState(null, "", `#${found}`);
  } catch {
    // Too often within a second, or a browser that lets files have no address of their own.
  }
}

/**
 * Points as a list, or where that is longer as a bit for each point there is.
 * @param {number[]} points
 * @param {number} n
 */
function toText(points, n) {
  const list = points.map((at) => at.toString(36)).join("-");
  if (list.length < n / 6) return list;
  const bytes = new Uint8Array(Math.ceil(n / 8));
  for (const at of points) bytes[at >> 3] |= 1 << (at & 7);
  return `.${btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/**
 * @param {string} text
 * @param {number} n
 */
function fromText(text, n) {
  if (!text.startsWith(".")) return text ? text.split("-").map((part) => parseInt(part, 36)) : [];
  try {
    const bytes = atob(text.slice(1).replaceAll("-", "+").replaceAll("_", "/"));
    return Array.from({ length: n }, (_, at) => at).filter((at) => (bytes.charCodeAt(at >> 3) >> (at & 7)) & 1);
  } catch {
    return [];
  }
}
