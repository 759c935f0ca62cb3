/** Tables as text (RFC 4180), read from files that others wrote too. */

/**
 * @param {string[][]} rows
 */
export function toCsv(rows) {
  const cell = (/** @type {string} */ text) => (/[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => row.map(cell).join(",") + "\n").join("");
}

/**
 * Rows of cells; columns divided by commas, semicolons or tabs, whichever the first line has most of.
 * @param {string} text
 * @returns {string[][]}
 */
export function fromCsv(text) {
  const [first] = text.split("\n", 1);
  const count = (/** @type {string} */ mark) => first.split(mark).length;
  const separator = [",", ";", "\t"].reduce((a, b) => (count(b) > count(a) ? b : a));
  const rows = [[""]];
  let isQuoted = false;
  for (let i = text.startsWith("\uFEFF") ? 1 : 0; i < text.length; i++) {
    const letter = text[i];
    const row = rows[rows.length - 1];
    if (letter === '"') {
      if (isQuoted && text[i + 1] === '"') row[row.length - 1] += text[i++];
      else isQuoted = !isQuoted;
    } else if (isQuoted) row[row.length - 1] += letter;
    else if (letter === separator) row.push("");
    else if (letter === "\n") rows.push([""]);
    else if (letter !== "\r") row[row.length - 1] += letter;
  }
  return rows.filter((row) => row.some((cell) => cell));
}
