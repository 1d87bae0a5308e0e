// Judged answers: what models said and what became of it.

import { get } from "../api.js";
import { h } from "../dom.js";
import { words } from "../format.js";
import { chip, empty, filter, jobHead, pager, resultTable, tag } from "../parts.js";
import { schemas } from "../schema.js";
import { sqlBlock, sqlDiff } from "../sql.js";

export default async function answers(context) {
  const [id] = context.params;
  const wanted = { limit: 20, ...Object.fromEntries(context.query) };
  const [job, page, known] = await Promise.all([
    get(`/v1/jobs/${id}`, {}, context.signal),
    get(`/v1/jobs/${id}/predictions`, wanted, context.signal),
    schemas(),
  ]);
  context.title(`Answers of ${job.name}`);
  const filters =
    page.stages.length > 0 &&
    h(
      "div",
      { class: "filters", role: "group", "aria-label": "Filters" },
      filter(
        context,
        "Stage",
        "stage",
        page.stages.map((name, n) => [n ? name : "", name]),
      ),
      filter(context, "Verdict", "verdict", [["", "Any verdict"], ...known.choices("Verdict")]),
    );
  context.show(
    jobHead(job, "answers"),
    filters,
    page.data.length
      ? page.data.map(card)
      : !page.has_more &&
          empty(
            "No judged answers to show.",
            page.stages.length
              ? h("a", { href: context.link({ verdict: null, after: null }) }, "Clear the filter")
              : "They appear when a model has been asked and the sandbox has judged.",
          ),
    pager(context, page, "answers"),
  );
}

function card(one) {
  const right = one.verdict === "correct";
  const [gold, answer] = one.sql && one.gold ? sqlDiff(one.gold, one.sql) : [sqlBlock(one.gold), sqlBlock(one.sql)];
  return h(
    "article",
    { class: "card" },
    h("h2", { class: "question" }, one.question ?? one.example_id),
    h(
      "p",
      { class: "row" },
      chip(one.verdict),
      !["ok"].includes(one.outcome) && chip(one.outcome),
      one.domain && tag(words(one.domain)),
      one.level && tag(one.level),
      h("span", { class: "muted small" }, `${one.model} · sample ${one.slot + 1} · ${one.policy} policy`),
    ),
    one.message && h("p", { class: "muted small" }, one.message),
    right
      ? sqlBlock(one.sql)
      : h(
          "div",
          { class: "two" },
          h("section", { class: "side" }, h("h3", {}, "Answer"), answer),
          h("section", { class: "side" }, h("h3", {}, "Gold"), gold),
        ),
    !one.sql && h("details", {}, h("summary", {}, "The answer as it came"), h("pre", { class: "text" }, one.answer)),
    (one.result || one.gold_result) &&
      h(
        "details",
        {},
        h("summary", {}, "Results"),
        h(
          "div",
          { class: "two" },
          h(
            "div",
            { class: "side" },
            h("h4", { class: "small" }, "Answer returns"),
            one.result
              ? resultTable(one.result, "Result of the answer")
              : h("p", { class: "muted small" }, "Nothing was kept."),
          ),
          h(
            "div",
            { class: "side" },
            h("h4", { class: "small" }, "Gold returns"),
            one.gold_result
              ? resultTable(one.gold_result, "Result of the gold")
              : h("p", { class: "muted small" }, "Nothing was kept."),
          ),
        ),
      ),
  );
}
