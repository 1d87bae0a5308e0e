// SQL for reading: tokens, colours, and what is different between two queries, word by word.

import { h } from "./dom.js";

const TOKEN =
  /(--[^\n]*|\/\*[\s\S]*?\*\/)|('(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\])|(\b\d+(?:\.\d+)?\b)|([A-Za-z_][\w$]*)|(\s+)|([^\s\w])/g;
const KEYWORDS = new Set(
  (
    "select from where group by having order limit offset join left right inner outer cross full natural on using as and or not in is null like glob " +
    "between exists case when then else end union all intersect except distinct with recursive asc desc values create table index primary key foreign references " +
    "insert into update delete set unique check default collate over partition rows range preceding following current row filter integer text real blob numeric"
  ).split(" "),
);
const MOST_WORDS = 1500;

/** Tokens as {text, kind}: c comment, s string or quoted name, n number, k keyword, f function, w word, b blank, p other. */
export function tokens(sql) {
  const found = [];
  for (const match of String(sql).matchAll(TOKEN)) {
    const [text, comment, quoted, number, word, blank] = match;
    let kind = "p";
    if (comment) kind = "c";
    else if (quoted) kind = text.startsWith("'") ? "s" : "w";
    else if (number) kind = "n";
    else if (word) kind = KEYWORDS.has(word.toLowerCase()) ? "k" : sql[match.index + text.length] === "(" ? "f" : "w";
    else if (blank) kind = "b";
    found.push({ text, kind });
  }
  return found;
}

const coloured = ({ text, kind }) => ("cksnf".includes(kind) ? h("span", { class: kind }, text) : text);

/** A query with colours. */
export function sqlBlock(sql) {
  return sql === null || sql === undefined
    ? h("p", { class: "muted" }, "No SQL could be read from the answer.")
    : h("pre", { class: "sql" }, tokens(sql).map(coloured));
}

const same = (a, b) =>
  a.kind === "s" || b.kind === "s" ? a.text === b.text : a.text.toLowerCase() === b.text.toLowerCase();

/** Which tokens (blanks left out) of two lists belong to their longest common subsequence. */
function common(a, b) {
  const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      table[i][j] = same(a[i], b[j]) ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
  const kept = [new Set(), new Set()];
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (same(a[i], b[j])) {
      kept[0].add(a[i++]);
      kept[1].add(b[j++]);
    } else if (table[i + 1][j] >= table[i][j + 1]) i++;
    else j++;
  }
  return kept;
}

/** Two queries with what only one of them has marked: `ins` in the first, `del` in the second. */
export function sqlDiff(first, second) {
  const sides = [tokens(first), tokens(second)];
  const solid = sides.map((side) => side.filter((token) => token.kind !== "b"));
  if (solid.some((side) => side.length > MOST_WORDS)) return [sqlBlock(first), sqlBlock(second)];
  const kept = common(...solid);
  return sides.map((side, n) => {
    const mark = n === 0 ? "ins" : "del";
    return h(
      "pre",
      { class: "sql" },
      side.map((token) => (token.kind === "b" || kept[n].has(token) ? coloured(token) : h(mark, {}, coloured(token)))),
    );
  });
}
