// Uploaded databases, and a way to bring one.

import { get, post } from "../api.js";
import { announce, h, replace } from "../dom.js";
import { bytes, plural, short, when } from "../format.js";
import { empty, fault, head, pager } from "../parts.js";

export default async function databases(context) {
  context.title("Databases");
  const page = await get("/v1/databases", { limit: 20, ...Object.fromEntries(context.query) }, context.signal);
  const told = h("div", {});
  const input = h("input", {
    type: "file",
    class: "unseen",
    id: "file",
    accept: ".sqlite,.sqlite3,.db",
    tabindex: "-1",
    "aria-hidden": "true",
    onchange: () => bring(context, input.files[0], told),
  });
  const button = h(
    "button",
    { type: "button", class: "primary", onclick: () => input.click() },
    "Upload a SQLite file",
  );
  context.show(
    head("Databases", { actions: [button, input] }),
    told,
    h(
      "p",
      { class: "muted" },
      "Files that were brought here. Databases that jobs built are reached from their examples.",
    ),
    page.data.length
      ? table(page.data)
      : empty(
          "No database was uploaded yet.",
          "A file is checked in the sandbox and stored under the hash of its content.",
        ),
    pager(context, page, "databases"),
  );
}

async function bring(context, file, told) {
  if (!file) return;
  replace(told, h("p", { class: "notice", role: "status" }, `Uploading ${file.name}, ${bytes(file.size)}…`));
  try {
    const name = encodeURIComponent(file.name.replace(/\.(sqlite3?|db)$/i, "").slice(0, 100));
    const found = await post(`/v1/databases?name=${name}`, file, { type: "application/vnd.sqlite3" });
    announce("The database is stored");
    if (!context.signal.aborted) location.hash = `#/databases/${found.id}`;
  } catch (error) {
    replace(told, fault(error));
  }
}

function table(list) {
  return h(
    "div",
    { class: "card" },
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Databases" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Name", "Tables", "Size", "Warnings", "Brought"].map((name) => h("th", { scope: "col" }, name)),
          ),
        ),
        h(
          "tbody",
          {},
          list.map((one) =>
            h(
              "tr",
              {},
              h(
                "td",
                {},
                h("a", { href: `#/databases/${one.id}`, class: "job-name" }, one.name || short(one.id)),
                h("div", { class: "muted small" }, h("code", {}, short(one.id))),
              ),
              h("td", {}, one.tables, one.views > 0 && `, ${plural(one.views, "view")}`),
              h("td", {}, bytes(one.size)),
              h("td", { class: "small" }, one.warnings.length ? one.warnings.join("; ") : "none"),
              h("td", {}, when(one.created_at)),
            ),
          ),
        ),
      ),
    ),
  );
}
