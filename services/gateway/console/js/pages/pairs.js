// Preference pairs: chosen and rejected side by side, what differs, and what each returns.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { plural, words } from "../format.js";
import { chip, empty, filter, jobHead, opened, pager, run, schemaCard, schemaView, tag } from "../parts.js";
import { schemas } from "../schema.js";
import { sqlDiff } from "../sql.js";

const OPEN_AT_ONCE = 2;

export default async function pairs(context) {
  const [id] = context.params;
  const wanted = { limit: 20, ...Object.fromEntries(context.query) };
  const [job, page, counts, known] = await Promise.all([
    get(`/v1/jobs/${id}`, {}, context.signal),
    get(`/v1/jobs/${id}/pairs`, wanted, context.signal),
    get(`/v1/jobs/${id}/examples/counts`, {}, context.signal),
    schemas(),
  ]);
  context.title(`Pairs of ${job.name}`);
  const failures = known.choices("Verdict").filter((one) => one !== "correct");
  const body = h("div", { class: "stack loose" });
  const filters = h(
    "div",
    { class: "filters", role: "group", "aria-label": "Filters" },
    filter(context, "Domain", "domain", [["", "All domains"], ...Object.keys(counts.domains)]),
    filter(context, "Rejected for", "verdict", [["", "Any verdict"], ...failures]),
    filter(context, "Its outcome", "outcome", [["", "Any outcome"], ...known.choices("Outcome")]),
  );
  context.show(jobHead(job, "pairs"), filters, body);
  const note = page.collected
    ? "As preference training reads them."
    : "Built so far; duplicates and leaks are taken out when they are collected.";
  replace(
    body,
    page.data.length > 0 && h("p", { class: "muted" }, note),
    page.data.length
      ? page.data.map((pair, n) => card(pair, n < OPEN_AT_ONCE))
      : !page.has_more &&
          empty(
            "No pairs to show.",
            context.query.size
              ? h(
                  "a",
                  { href: context.link({ domain: null, verdict: null, outcome: null, after: null }) },
                  "Clear the filters",
                )
              : "Jobs of kind pairing and pipeline build them from a weak model's answers.",
          ),
    pager(context, page, "pairs"),
  );
}

function card(pair, open) {
  const [chosen, rejected] = sqlDiff(pair.chosen, pair.rejected);
  const both =
    pair.database_id &&
    opened(
      "Both results",
      async () => {
        const results = await Promise.all([
          run(pair.database_id, pair.chosen, "Result of the chosen query"),
          run(pair.database_id, pair.rejected, "Result of the rejected query"),
        ]);
        return h(
          "div",
          { class: "two" },
          results.map((result, n) =>
            h("div", { class: "side" }, h("h4", { class: "small" }, n ? "Rejected returns" : "Chosen returns"), result),
          ),
        );
      },
      open,
    );
  return h(
    "article",
    { class: "card" },
    h("h2", { class: "question" }, pair.question ?? pair.example_id),
    pair.evidence && h("p", { class: "muted" }, pair.evidence),
    h(
      "p",
      { class: "row" },
      pair.domain && tag(words(pair.domain)),
      pair.level && tag(pair.level),
      tag(words(pair.policy)),
      h(
        "span",
        { class: "muted small" },
        `${pair.model} · ${plural(pair.distance, "token")} apart${pair.suite_databases ? ` · held on ${plural(pair.suite_databases, "test-suite database")}` : ""}`,
      ),
    ),
    h(
      "div",
      { class: "two" },
      h(
        "section",
        { class: "side" },
        h("h3", {}, pair.gold_chosen ? "Chosen (the gold)" : "Chosen", chip(pair.chosen_outcome)),
        chosen,
      ),
      h(
        "section",
        { class: "side" },
        h(
          "h3",
          {},
          "Rejected",
          chip(pair.rejected_verdict, "bad"),
          pair.rejected_outcome !== "ok" && chip(pair.rejected_outcome),
        ),
        rejected,
        pair.rejected_message && h("p", { class: "muted small" }, pair.rejected_message),
      ),
    ),
    h(
      "div",
      { class: "opens" },
      both,
      pair.database_id && opened("Schema", async () => schemaView((await schemaCard(pair.database_id)).card)),
      pair.database_id && h("a", { href: `#/databases/${pair.database_id}` }, "Open the database"),
    ),
  );
}
