// One database: its schema, its first rows, and a query to run.

import { h, replace } from "../dom.js";
import { bytes, plural, short } from "../format.js";
import { fault, field, head, removeButton, resultTable, run, schemaCard, schemaView } from "../parts.js";
import { sqlBlock } from "../sql.js";

export default async function database(context) {
  const [id] = context.params;
  const found = await schemaCard(id);
  const tables = found.card.tables.map((one) => one.name);
  const name = found.upload?.name || `${tables.slice(0, 3).join(", ")}${tables.length > 3 ? "…" : ""}` || short(id);
  const warnings = [...new Set([...(found.upload?.warnings ?? []), ...(found.card.warnings ?? [])])];
  context.title(name);
  const told = h("div", {});
  const ask = h("a", { class: "button primary", href: `#/ask?database=${id}` }, "Ask a question");
  const below = h(
    "p",
    { class: "muted" },
    `${plural(found.card.tables.length, "table")} · ${bytes(found.size)} · `,
    h("code", { title: id }, short(id)),
  );
  context.show(
    head(name, { crumb: [h("a", { href: "#/databases" }, "Databases")], below, actions: found.upload ? [ask, removal(told, id, name)] : ask }),
    told,
    warnings.length > 0 &&
      h(
        "div",
        { class: "notice warn" },
        h(
          "ul",
          {},
          warnings.map((one) => h("li", {}, one)),
        ),
      ),
    console_(id, found.card),
    h("section", { class: "card" }, h("h2", {}, "Schema"), schemaView(found.card)),
    h("section", { class: "stack loose" }, h("h2", {}, "Tables"), [...found.card.tables, ...(found.card.views ?? [])].map(tableCard)),
  );
}

function removal(told, id, name) {
  return removeButton(`/v1/databases/${id}`, `the database ${name}`, told, () => {
    location.hash = "#/databases";
  });
}

function console_(id, card) {
  const first = card.tables[0]?.name ?? "sqlite_schema";
  const input = h("textarea", {
    class: "code",
    rows: 3,
    spellcheck: "false",
    value: `SELECT * FROM "${first}" LIMIT 10`,
  });
  const result = h("div", { "aria-live": "polite" });
  const go = async () => {
    replace(result, h("p", { class: "muted" }, "Running…"));
    try {
      replace(result, await run(id, input.value, "Result"));
    } catch (error) {
      replace(result, fault(error));
    }
  };
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) go();
  });
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Run SQL"),
    field("One query; it is read-only and bounded", input),
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: "primary", onclick: go }, "Run"),
      h("span", { class: "muted small" }, "Ctrl + Enter"),
    ),
    result,
  );
}

function tableCard(table) {
  const rows = { columns: table.columns.map((one) => one.name), rows: table.sample_rows, row_count: table.row_count ?? table.sample_rows.length };
  return h(
    "article",
    { class: "card" },
    h("h3", {}, table.name),
    resultTable(rows, `First rows of ${table.name}`),
    h("details", {}, h("summary", {}, "CREATE statement"), sqlBlock(table.ddl)),
  );
}
