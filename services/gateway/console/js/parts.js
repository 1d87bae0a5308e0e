// Parts that pages are made of.

import { ApiError, get, post, remove } from "./api.js";
import { announce, h, replace } from "./dom.js";
import { count, plural, words } from "./format.js";

const KINDS = {
  succeeded: "good",
  done: "good",
  correct: "good",
  ok: "good",
  accepted: "good",
  failed: "bad",
  wrong: "bad",
  error: "bad",
  cancelled: "warn",
  cancelling: "warn",
  timeout: "warn",
  disputed: "warn",
  empty: "warn",
  both_empty: "warn",
  running: "run",
};

/** A word with a colour that goes with it; the word alone says it too. */
export const chip = (word, kind = KINDS[word] ?? (/_error|unknown|ambiguous|limit|killed/.test(word) ? "bad" : "")) =>
  h("span", { class: `chip ${kind}` }, kind && h("span", { class: "dot", "aria-hidden": "true" }), words(word));

/** A plain tag. */
export const tag = (text) => h("span", { class: "chip" }, text);

/**
 * A heading with what can be done there.
 * @param {string} title
 * @param {{ crumb?: any, below?: any, actions?: any }} [options]
 */
export const head = (title, { crumb, below, actions } = {}) =>
  h(
    "div",
    { class: "head" },
    h("div", {}, crumb && h("p", { class: "crumb" }, crumb), h("h1", { tabindex: "-1" }, title), below),
    actions && h("div", { class: "row" }, actions),
  );

/** What went wrong, with every fault and its path. */
export function fault(error) {
  if (!(error instanceof ApiError)) throw error;
  const faults = error.faults ?? [];
  const lead = faults.length ? `${plural(faults.length, "fault")}:` : error.message;
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("p", {}, lead),
    faults.length > 0 &&
      h(
        "ul",
        {},
        faults.map((one) => h("li", {}, h("code", {}, one.path), " ", one.message)),
      ),
  );
}

/** Where a list has nothing to show. */
export const empty = (title, ...more) =>
  h("div", { class: "empty" }, h("p", {}, h("strong", {}, title)), more.length > 0 && h("p", {}, more));

/** Rows of a query's result; cells are text, whatever they hold. */
export function resultTable(result, label = "Result") {
  const rows = result.rows ?? [];
  const total = result.row_count || rows.length;
  const note = [
    plural(total, "row"),
    rows.length < total && `, the first ${count(rows.length)} are shown`,
    result.truncated && rows.length >= total && ", cut",
  ];
  if (!["ok", "empty", undefined, null].includes(result.outcome))
    return h(
      "div",
      { class: "stack" },
      chip(result.outcome),
      h("p", { class: "muted small" }, result.message || "It gave no result."),
    );
  const header = result.columns ?? [];
  const grid = h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h(
      "table",
      { class: "rows" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          header.map((name) => h("th", { scope: "col" }, name || "\u00a0")),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) => h("tr", {}, row.map(cell))),
      ),
    ),
  );
  return h("div", {}, rows.length > 0 && grid, h("p", { class: "muted small" }, note));
}

const cell = (value) =>
  value === null
    ? h("td", {}, h("span", { class: "null" }, "NULL"))
    : h(
        "td",
        { class: typeof value === "number" ? "num" : null, title: String(value).length > 40 ? value : null },
        value,
      );

/** Something to open, filled when it is opened first. */
export function opened(title, load, open = false) {
  const body = h("div", {}, h("p", { class: "muted small" }, "Loading…"));
  let begun = false;
  const begin = async () => {
    if (begun) return;
    begun = true;
    try {
      replace(body, await load());
    } catch (error) {
      begun = false;
      replace(body, fault(error));
    }
  };
  const node = h("details", { ontoggle: () => node.open && begin() }, h("summary", {}, title), body);
  if (open) {
    node.open = true;
  }
  return node;
}

/** Runs a query on a stored database and shows what it did. */
export async function run(databaseId, sql, label) {
  return resultTable(await post("/v1/execute", { database_id: databaseId, sql, max_rows: 50 }), label);
}

const cards = new Map();

/** A schema card, fetched once. */
export function schemaCard(databaseId) {
  if (!cards.has(databaseId))
    cards.set(
      databaseId,
      get(`/v1/databases/${databaseId}`).catch((error) => {
        cards.delete(databaseId);
        throw error;
      }),
    );
  return cards.get(databaseId);
}

/** A schema as tables with their columns. */
/** What stands beside a table's name; views have no count. */
function kindOf(table) {
  return table.row_count === undefined ? "view" : plural(table.row_count, "row");
}

export function schemaView(card) {
  return h(
    "div",
    {},
    [...card.tables, ...(card.views ?? [])].map((table) =>
      h(
        "div",
        { class: "schema-table" },
        h("h3", {}, table.name, " ", h("span", { class: "muted small" }, kindOf(table))),
        h(
          "ul",
          { class: "columns" },
          table.columns.map((column) => {
            const link = table.foreign_keys?.find((one) => one.column === column.name);
            return h(
              "li",
              {},
              h("code", {}, column.name),
              " ",
              h("span", { class: "type" }, column.type.toLowerCase()),
              column.primary_key && h("span", { class: "key-mark", title: "primary key" }, " key"),
              link && h("span", { class: "muted" }, ` → ${link.to_table}.${link.to_column}`),
            );
          }),
        ),
      ),
    ),
  );
}

/** A select with a label that moves the page to another query. */
export function filter(context, label, name, options) {
  const chosen = context.query.get(name) ?? "";
  const known = options.map((one) => (Array.isArray(one) ? one : [one, words(one)]));
  if (chosen && !known.some(([value]) => value === chosen)) known.push([chosen, words(chosen)]);
  const select = h(
    "select",
    { onchange: () => context.go({ [name]: select.value, after: null }) },
    known.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
  return h("label", { class: "field" }, h("span", {}, label), select);
}

/** Links to the first page and the next one. */
export function pager(context, page, noun) {
  const links = [
    context.query.get("after") && h("a", { class: "button", href: context.link({ after: null }) }, "First page"),
    page.has_more && h("a", { class: "button", href: context.link({ after: page.last_id }), rel: "next" }, "Next page"),
  ].filter(Boolean);
  const note =
    page.data.length === 0 && page.has_more ? `None among the rows looked at so far; there are more ${noun}.` : null;
  return links.length || note
    ? h("nav", { class: "row", "aria-label": `Pages of ${noun}` }, links, note && h("span", { class: "muted" }, note))
    : null;
}

/** A labelled input. */
export function field(label, input, hint) {
  return h("label", { class: "field" }, h("span", {}, label), input, hint && h("small", { class: "hint" }, hint));
}

/** The pages of a job. */
export function jobTabs(job, here) {
  const pages = [
    ["", "Pipeline"],
    ["examples", "Examples"],
    ["pairs", "Pairs"],
    ["answers", "Answers"],
    ["curves", "Training"],
    ["files", "Files"],
    ["spec", "Spec"],
  ];
  return h(
    "nav",
    { class: "tabs", "aria-label": "Parts of the job" },
    pages.map(([path, title]) =>
      h("a", { href: `#/jobs/${job.id}${path && `/${path}`}`, "aria-current": path === here ? "page" : null }, title),
    ),
  );
}

/** The head of a job's pages. */
export function jobHead(job, here, actions) {
  return [
    head(job.name, {
      crumb: [h("a", { href: "#/jobs" }, "Jobs"), " / ", h("code", {}, job.id)],
      below: h("p", { class: "row" }, h("span", { id: "job-status" }, chip(job.status)), tag(job.kind)),
      actions,
    }),
    jobTabs(job, here),
  ];
}

/** Deletes what is at a path once it was confirmed; what speaks against it appears in `told`. */
export function removeButton(path, what, told, then) {
  const node = h("span", { class: "row" });
  const first = h("button", { type: "button", class: "danger", "aria-label": `Delete ${what}` }, "Delete");
  const sure = h("button", { type: "button", class: "danger" }, `Delete ${what} for good`);
  const keep = h("button", { type: "button" }, "Keep it");
  const back = () => {
    replace(node, first);
    first.focus();
  };
  first.addEventListener("click", () => {
    replace(told);
    replace(node, sure, keep);
    keep.focus();
  });
  keep.addEventListener("click", back);
  sure.addEventListener("click", async () => {
    sure.disabled = true;
    try {
      await remove(path);
      announce(`Deleted ${what}`);
      then();
    } catch (error) {
      sure.disabled = false;
      back();
      replace(told, fault(error));
    }
  });
  node.append(first);
  return node;
}
