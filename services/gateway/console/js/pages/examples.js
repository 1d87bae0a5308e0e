// The examples of a job: what was accepted, what was refused and why.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { count, plural, words } from "../format.js";
import { chip, empty, filter, jobHead, opened, pager, run, schemaCard, schemaView, tag } from "../parts.js";
import { sqlBlock } from "../sql.js";

const PARTS = [
  ["", "Accepted"],
  ["selection", "Selection split"],
  ["rejected", "Rejected"],
];

export default async function examples(context) {
  const [id] = context.params;
  const { set, part } = Object.fromEntries(context.query);
  const counting = get(`/v1/jobs/${id}/examples/counts`, { set, part }, context.signal);
  const [job, counts] = await Promise.all([get(`/v1/jobs/${id}`, {}, context.signal), counting]);
  context.title(`Examples of ${job.name}`);
  const body = h("div", { class: "stack loose" });
  context.show(jobHead(job, "examples"), counts.sets.length > 0 && filters(context, counts), body);
  if (!counts.sets.length)
    return replace(
      body,
      empty("This job has no examples.", "Jobs of kind synthesis, pairing and pipeline write them."),
    );
  const page = await get(
    `/v1/jobs/${id}/examples`,
    { limit: 20, ...Object.fromEntries(context.query) },
    context.signal,
  );
  const note = `${plural(counts.looked_at, "example")}${counts.complete ? "" : " and more"} in this set${page.collected ? "" : ", which is still being written"}.`;
  replace(
    body,
    h("p", { class: "muted" }, note),
    page.data.length
      ? page.data.map(card)
      : !page.has_more &&
          empty(
            "None fit.",
            h(
              "a",
              { href: context.link({ domain: null, level: null, hardness: null, reason: null, after: null }) },
              "Clear the filters",
            ),
          ),
    pager(context, page, "examples"),
  );
}

const options = (counts) => Object.entries(counts).map(([name, n]) => [name, `${words(name)} (${count(n)})`]);

function filters(context, counts) {
  const has = (values) => Object.keys(values).length > 0;
  return h(
    "div",
    { class: "filters", role: "group", "aria-label": "Filters" },
    filter(
      context,
      "Set",
      "set",
      counts.sets.map((name, n) => [n ? name : "", name]),
    ),
    filter(context, "Which", "part", PARTS),
    filter(context, "Domain", "domain", [["", "All domains"], ...options(counts.domains)]),
    filter(context, "Level", "level", [["", "All levels"], ...options(counts.levels)]),
    has(counts.hardness) && filter(context, "Hardness", "hardness", [["", "All"], ...options(counts.hardness)]),
    has(counts.reasons) && filter(context, "Reason", "reason", [["", "All reasons"], ...options(counts.reasons)]),
  );
}

function card(one) {
  const ask =
    one.database_id &&
    `#/ask?${new URLSearchParams({ database: one.database_id, question: one.question, evidence: one.evidence ?? "" })}`;
  return h(
    "article",
    { class: "card" },
    h("h2", { class: "question" }, one.question),
    one.evidence && h("p", { class: "muted" }, one.evidence),
    h(
      "p",
      { class: "row" },
      one.reason ? chip(one.reason, "bad") : null,
      tag(words(one.domain)),
      tag(one.level),
      one.hardness && one.hardness !== one.level && tag(one.hardness),
      one.dataset && tag(one.dataset),
      h("span", { class: "muted small" }, [one.writer, one.model, one.source].filter(Boolean).join(" · ")),
    ),
    one.detail && h("p", { class: "notice bad" }, one.detail),
    sqlBlock(one.sql),
    h(
      "div",
      { class: "opens" },
      one.database_id && opened("Rows", () => run(one.database_id, one.sql, "Rows of the gold query")),
      one.database_id && opened("Schema", async () => schemaView((await schemaCard(one.database_id)).card)),
      one.ddl && h("details", {}, h("summary", {}, "Schema as it was written"), sqlBlock(one.ddl)),
      ask && h("a", { href: ask }, "Ask a model this"),
      one.database_id && h("a", { href: `#/databases/${one.database_id}` }, "Open the database"),
    ),
  );
}
