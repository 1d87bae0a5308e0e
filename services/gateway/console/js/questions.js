// The questions of a report, by what its arms made of them.

import { get } from "./api.js";
import { h, replace } from "./dom.js";
import { words } from "./format.js";
import { chip, empty, filter, pager, tag } from "./parts.js";
import { sqlBlock, sqlDiff } from "./sql.js";

const ONLY = [
  ["", "All questions"],
  ["wrong", "Answered wrongly"],
  ["right", "Answered rightly"],
  ["lost", "Lost against…"],
  ["won", "Won against…"],
  ["differ", "Different from…"],
];

/** Questions, filtered by what an arm made of them. */
export async function losses(context, found, node) {
  const arms = Object.entries(found.arms);
  if (!arms.length) return;
  const pick = (wanted) => arms.find(([name]) => wanted.includes(name))?.[0];
  const asked = Object.fromEntries(context.query);
  const arm = asked.arm ?? pick(["dpo", "sft"]) ?? arms[0][0];
  const against = asked.against ?? (arm === "sft" ? pick(["base"]) : pick(["sft", "base"])) ?? arms[0][0];
  const only = asked.only ?? "";
  const query = {
    limit: 10,
    set: asked.set,
    after: asked.after,
    ...(only ? { only, arm } : {}),
    ...(["lost", "won", "differ"].includes(only) ? { against } : {}),
  };
  const page = await get(`/v1/reports/${found.job_id}/questions`, query, context.signal);
  const chosen = { ...context, query: new URLSearchParams({ ...asked, arm, against }) };
  replace(
    node,
    h("h2", {}, "Questions"),
    h(
      "div",
      { class: "filters", role: "group", "aria-label": "Filters" },
      filter(context, "Show", "only", ONLY),
      filter(chosen, "Arm", "arm", arms),
      filter(chosen, "Against", "against", arms),
      filter(context, "Set", "set", [["", "All sets"], ...found.sets]),
    ),
    page.data.length
      ? page.data.map((one) => questionCard(one, found.arms, arm, against))
      : !page.has_more && empty("No question fits."),
    pager(context, page, "questions"),
  );
}

function questionCard(one, titles, arm, against) {
  const shown = [...new Set([arm, against])].filter((name) => one.arms[name]);
  return h(
    "article",
    { class: "card" },
    h("h3", { class: "question" }, one.question),
    one.evidence && h("p", { class: "muted" }, one.evidence),
    h(
      "p",
      { class: "row" },
      tag(one.set),
      tag(words(one.domain)),
      tag(one.hardness ?? one.level),
      !one.scored && chip("not scored", "warn"),
      h("a", { class: "small", href: `#/databases/${one.database_id}` }, "Database"),
    ),
    h("section", { class: "side" }, h("h4", { class: "small" }, "Gold"), sqlBlock(one.gold)),
    h(
      "div",
      { class: "two" },
      shown.map((name) =>
        h(
          "section",
          { class: "side" },
          h("h4", { class: "small" }, titles[name] ?? name),
          one.arms[name].slice(0, 3).map((answer) => answerOf(answer, one.gold)),
          one.arms[name].length > 3 &&
            h("p", { class: "muted small" }, `and ${one.arms[name].length - 3} more samples`),
        ),
      ),
    ),
  );
}

/** An answer with its verdict; what the gold has not is marked where it is wrong. */
export function answerOf(answer, gold) {
  return h(
    "div",
    { class: "stack" },
    h(
      "p",
      { class: "row" },
      chip(answer.verdict),
      answer.outcome !== "ok" && answer.outcome !== answer.verdict && chip(answer.outcome),
    ),
    answer.sql && !answer.ex ? sqlDiff(gold, answer.sql)[1] : sqlBlock(answer.sql),
  );
}
