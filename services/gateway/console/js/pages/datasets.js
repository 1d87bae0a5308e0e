// Imported datasets.

import { get } from "../api.js";
import { h } from "../dom.js";
import { count, percent, when } from "../format.js";
import { empty, head, pager, removeButton, tag } from "../parts.js";

export default async function datasets(context) {
  context.title("Datasets");
  const page = await get("/v1/datasets", { limit: 20, ...Object.fromEntries(context.query) }, context.signal);
  context.show(
    head("Datasets"),
    page.data.length
      ? page.data.map(card)
      : empty(
          "No dataset was imported yet.",
          "Bring one with ",
          h("code", {}, "sense import spider PATH --name spider-dev"),
        ),
    pager(context, page, "datasets"),
  );
}

function card(one) {
  const told = h("div", {});
  const path = `/v1/datasets/${encodeURIComponent(one.name)}?version=${encodeURIComponent(one.version)}`;
  const node = h(
    "article",
    { class: "card" },
    h(
      "div",
      { class: "row apart" },
      h("h2", {}, one.name),
      h(
        "span",
        { class: "row" },
        tag(one.format),
        tag(`${one.policy} policy`),
        removeButton(path, `version ${one.version} of ${one.name}`, told, () => node.remove()),
      ),
    ),
    told,
    h(
      "dl",
      { class: "facts" },
      [
        ["Questions", count(one.questions)],
        ...Object.entries(one.splits).map(([name, n]) => [name, count(n)]),
        ["Databases", count(one.databases)],
        ["Best possible score", percent(one.ceiling)],
      ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    ),
    h(
      "p",
      { class: "muted small" },
      `Version ${one.version} · licence: ${one.licence}${one.release ? ` · ${one.release}` : ""} · ${when(one.created_at)}`,
    ),
  );
  return node;
}
