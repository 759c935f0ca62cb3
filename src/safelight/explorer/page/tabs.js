/** Panels, of which one is open (the tabs pattern of WAI-ARIA). */

import { h } from "./dom.js";

/**
 * @typedef {object} Panel
 * @property {string} name
 * @property {string} title
 * @property {HTMLElement} element
 * @property {(open: boolean) => void} [toggle]
 */

/**
 * @param {HTMLElement} list for the tabs
 * @param {HTMLElement} place for the panels
 * @param {Panel[]} panels
 * @param {() => void} [onOpen]
 */
export function makeTabs(list, place, panels, onOpen = () => {}) {
  let opened = "";
  const tabs = panels.map(({ name, title, element }) => {
    const tab = h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}` }, title);
    tab.addEventListener("click", () => open(name));
    Object.assign(element, { id: `panel-${name}`, role: "tabpanel", tabIndex: 0 });
    element.setAttribute("aria-labelledby", tab.id);
    return tab;
  });
  list.append(...tabs);
  place.append(...panels.map(({ element }) => element));
  list.addEventListener("keydown", (event) => {
    const at = panels.findIndex(({ name }) => name === opened);
    const wanted = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    const next = (wanted + panels.length) % panels.length;
    open(panels[next].name);
    tabs[next].focus();
  });

  /** @param {string} wanted */
  function open(wanted) {
    if (!panels.some(({ name }) => name === wanted)) return;
    opened = wanted;
    panels.forEach(({ name, element, toggle }, i) => {
      const isOpen = name === wanted;
      element.hidden = !isOpen;
      tabs[i].setAttribute("aria-selected", String(isOpen));
      tabs[i].tabIndex = isOpen ? 0 : -1;
      if (isOpen) tabs[i].scrollIntoView({ block: "nearest", inline: "nearest" });
      toggle?.(isOpen);
    });
    onOpen();
  }
  return { open, opened: () => opened };
}
