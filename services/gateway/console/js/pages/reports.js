// Reports, newest first, and a way to lay two side by side.

import { get } from "../api.js";
import { h } from "../dom.js";
import { plural, when } from "../format.js";
import { empty, head, pager, tag } from "../parts.js";

export default async function reports(context) {
  context.title("Reports");
  const page = await get("/v1/reports", { limit: 20, ...Object.fromEntries(context.query) }, context.signal);
  const compare = page.data.length > 0 && h("a", { class: "button", href: "#/reports/compare" }, "Compare two");
  context.show(
    head("Reports", { actions: compare || null }),
    page.data.length
      ? page.data.map(card)
      : empty("No report yet.", "Jobs of kind pipeline and evaluation end with one."),
    pager(context, page, "reports"),
  );
}

function card(one) {
  return h(
    "article",
    { class: "card" },
    h(
      "div",
      { class: "row apart" },
      h("h2", {}, h("a", { href: `#/reports/${one.job_id}` }, one.job_name)),
      h("span", { class: "muted small" }, when(one.created_at)),
    ),
    h(
      "p",
      { class: "row" },
      tag(one.kind),
      tag(plural(one.questions, "question")),
      tag(plural(Object.keys(one.arms).length, "arm")),
      one.sets.map((name) => tag(name)),
    ),
    h(
      "ul",
      { class: "caveats" },
      one.findings.slice(0, 3).map((text) => h("li", {}, text)),
    ),
  );
}
