/** Elements, made and found; what is said to readers of screens; files to keep. */

/**
 * Make an element. Properties are set as such; those with a hyphen, and `role` and `for`, as attributes.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [properties]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for" || name === "list") {
      element.setAttribute(name, String(value));
    } else {
      /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (element))[name] = value;
    }
  }
  element.append(...children);
  return element;
}

/**
 * The element of an id that the page has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/**
 * Tell, politely, what happened.
 * @param {string} text
 */
export function announce(text) {
  byId("live").textContent = text;
}

/**
 * Keep something as a file.
 * @param {string} name
 * @param {Blob} content
 */
export function download(name, content) {
  const url = URL.createObjectURL(content);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** Whether the reader asked for less motion. */
export const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/**
 * A slider with its name.
 * @param {string} name
 * @param {Record<string, unknown>} properties
 * @param {(value: number) => void} onInput
 */
export function slider(name, properties, onInput) {
  const input = h("input", { type: "range", ...properties });
  input.addEventListener("input", () => onInput(input.valueAsNumber));
  return { input, label: h("label", { className: "slider" }, h("span", {}, name), input) };
}

/**
 * @param {string} text
 * @param {() => void} onClick
 * @param {Record<string, unknown>} [properties]
 */
export function button(text, onClick, properties = {}) {
  const element = h("button", { type: "button", ...properties }, text);
  element.addEventListener("click", onClick);
  return element;
}
