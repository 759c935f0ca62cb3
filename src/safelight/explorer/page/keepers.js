/** Where labels are kept: in the browser, or in the file that `safelight explore --labels` writes. */

import { rowsOf, tableOf } from "./labels.js";

const RETRY = 3000; // milliseconds until a server that did not answer is asked again

/** @param {string} fingerprint of the set @returns {import("./labels.js").Keeper} */
export function makeKeeper(fingerprint) {
  const token = document.querySelector("meta[name=token]")?.getAttribute("content");
  return token ? fileKeeper(token) : browserKeeper(fingerprint);
}

/**
 * In the browser, by the set's fingerprint: each change is made to what is kept by then, which other tabs and pages
 * of the same set write too.
 * @param {string} fingerprint
 * @returns {import("./labels.js").Keeper}
 */
export function browserKeeper(fingerprint) {
  const key = `safelight labels ${fingerprint}`;
  let fault = "";
  /** @type {Map<string, string>} what the browser did not take, yet */
  const waiting = new Map();
  const read = () => {
    /** @type {Map<string, string>} */
    let kept = new Map();
    try {
      kept = new Map(rowsOf(localStorage.getItem(key) ?? "").filter(([name, label]) => name && label));
    } catch {
      fault = "This browser keeps nothing for this page: download labels.csv before you leave.";
    }
    for (const [name, label] of waiting) put(kept, name, label);
    return kept;
  };
  return {
    words: "this browser",
    isServer: false,
    isLasting: location.protocol !== "file:", // the next copy of a file may be another place to a browser
    fault: () => fault,
    isIdle: () => !fault,
    load: async () => ({ kept: read(), past: [] }),
    keep(changes, isUndo) {
      const kept = read();
      for (const [name, [before, after]] of Object.entries(changes)) {
        if (isUndo && (kept.get(name) ?? "") !== before) continue;
        waiting.set(name, after);
        put(kept, name, after);
      }
      try {
        localStorage.setItem(key, tableOf(kept));
        waiting.clear();
        fault = "";
      } catch {
        fault = "This browser has no room for these labels, or keeps nothing: download labels.csv before you leave.";
      }
    },
    watch(listener) {
      addEventListener("storage", (event) => {
        if (event.key === key) listener();
      });
    },
  };
}

/**
 * @param {Map<string, string>} labels
 * @param {string} name
 * @param {string} label "" for none
 */
function put(labels, name, label) {
  if (label) labels.set(name, label);
  else labels.delete(name);
}

/**
 * In a file, by the server that the page came from; what it did not take is sent again.
 * @param {string} token that the server knows its own page by
 * @returns {import("./labels.js").Keeper}
 */
function fileKeeper(token) {
  const headers = { "X-Safelight-Token": token };
  /** @type {{changes: import("./labels.js").Changes, undo: boolean}[]} */
  const waiting = [];
  let fault = "";
  let isSending = false;
  let sent = 0;
  /** @type {(() => void)[]} */
  const listeners = [];
  const channel = new BroadcastChannel("safelight labels");
  const tell = () => listeners.forEach((listener) => listener());

  async function send() {
    if (isSending) return;
    isSending = true;
    try {
      while (waiting.length) {
        const answer = await fetch("labels", { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(waiting[0]) });
        if (!answer.ok) throw new Error((await answer.text()).slice(0, 200));
        waiting.shift();
        sent++;
        channel.postMessage("changed");
      }
      const wasFault = fault;
      fault = "";
      if (wasFault) tell();
    } catch (error) {
      const why = error instanceof TypeError ? "is safelight explore still running?" : /** @type {Error} */ (error).message;
      const isNew = !fault;
      fault = `${waiting.length.toLocaleString("en")} changes are not in the file yet: ${why} They are sent again; download labels.csv before you leave.`;
      if (isNew) tell();
      setTimeout(() => void send(), RETRY);
    }
    isSending = false;
  }
  return {
    words: document.querySelector("meta[name=labels]")?.getAttribute("content") ?? "the file",
    isServer: true,
    isLasting: true,
    fault: () => fault,
    isIdle: () => !waiting.length,
    async load() {
      for (;;) {
        const before = sent;
        const answer = await fetch("labels", { headers });
        if (!answer.ok) throw new Error((await answer.text()).slice(0, 200));
        const { labels, changes } = await answer.json();
        if (before !== sent) continue; // this may be from before what was sent meanwhile
        /** @type {Map<string, string>} */
        const kept = new Map(labels);
        for (const { changes } of waiting) {
          for (const [name, [, after]] of Object.entries(changes)) put(kept, name, after);
        }
        return { kept, past: changes };
      }
    },
    keep(changes, isUndo) {
      waiting.push({ changes, undo: isUndo });
      void send();
    },
    watch(listener) {
      listeners.push(listener);
      channel.addEventListener("message", listener);
      document.addEventListener("visibilitychange", () => {
        if (!document.hidden && !waiting.length) listener();
      });
    },
  };
}
