// Two reports, or two arms of one, on the questions that both answered.

import { get } from "../api.js";
import { forestChart } from "../chart.js";
import { h } from "../dom.js";
import { count, percent, plural, signed, words } from "../format.js";
import { empty, filter, head, pager, tag } from "../parts.js";
import { answerOf } from "../questions.js";
import { sqlBlock } from "../sql.js";

const SHOW = [
  ["", "Where they differ"],
  ["won", "Won by the right"],
  ["lost", "Lost by the right"],
  ["all", "All questions"],
];

export default async function compare(context) {
  context.title("Compare reports");
  const list = await get("/v1/reports", { limit: 100 }, context.signal);
  const asked = Object.fromEntries(context.query);
  // Jobs that only the archive knows are not in the list, but have their reports.
  for (const id of [asked.left, asked.right])
    if (id && !list.data.some((one) => one.job_id === id))
      list.data.push(await get(`/v1/reports/${id}`, {}, context.signal));
  if (!list.data.length) return context.show(head("Compare reports"), empty("There is no report yet."));
  const left = list.data.find((one) => one.job_id === asked.left) ?? list.data[Math.min(1, list.data.length - 1)];
  const right = list.data.find((one) => one.job_id === asked.right) ?? list.data[0];
  const arms = {
    left: armOf(left, asked.left_arm, ["sft", "base"]),
    right: armOf(right, asked.right_arm, ["dpo", "sft"]),
  };
  const chosen = {
    ...context,
    query: new URLSearchParams({
      ...asked,
      left: left.job_id,
      right: right.job_id,
      left_arm: arms.left,
      right_arm: arms.right,
    }),
  };
  const names = list.data.map((one) => [one.job_id, `${one.job_name} (${one.job_id.slice(0, 6)})`]);
  const query = {
    left: left.job_id,
    left_arm: arms.left,
    right: right.job_id,
    right_arm: arms.right,
    set: asked.set,
    show: asked.show ?? "differ",
    after: asked.after,
    limit: 10,
  };
  const found = await get("/v1/reports/compare", query, context.signal);
  const sets = [...new Set([...left.sets, ...right.sets])];
  context.show(
    head("Compare reports", { crumb: h("a", { href: "#/reports" }, "Reports") }),
    h("div", { class: "two" }, side(chosen, "Left", "left", names, left), side(chosen, "Right", "right", names, right)),
    found.questions
      ? numbers(found)
      : empty("They share no scored question.", "Only questions with the same database, text and gold are compared."),
    h(
      "div",
      { class: "filters", role: "group", "aria-label": "Filters" },
      filter(context, "Show", "show", SHOW),
      filter(context, "Set", "set", [["", "All sets"], ...sets]),
    ),
    found.data.length
      ? found.data.map((one) => card(one, found))
      : found.questions > 0 && !found.has_more && empty("No question to show here."),
    pager(context, found, "questions"),
  );
}

function armOf(report, asked, wanted) {
  const names = Object.keys(report.arms);
  return names.includes(asked) ? asked : (wanted.find((name) => names.includes(name)) ?? names[0]);
}

function side(context, title, name, reports, report) {
  return h(
    "section",
    { class: "card" },
    h("h2", {}, title),
    h(
      "div",
      { class: "filters wide" },
      filter(context, `${title} report`, name, reports),
      filter(context, `${title} arm`, `${name}_arm`, Object.entries(report.arms)),
    ),
  );
}

function numbers(found) {
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const clear =
    found.low === null
      ? "Fewer than two databases: no interval."
      : found.low <= 0 && found.high >= 0
        ? "The interval holds zero: no difference is shown at this size."
        : `The right is ${found.points > 0 ? "above" : "below"}, with the interval clear of zero.`;
  return h(
    "section",
    { class: "card" },
    h(
      "dl",
      { class: "facts" },
      fact(`Left: ${found.left.title}`, percent(found.left.accuracy)),
      fact(`Right: ${found.right.title}`, percent(found.right.accuracy)),
      fact("Shared questions", count(found.questions)),
      fact("Won by the right", count(found.won)),
      fact("Lost by the right", count(found.lost)),
      fact("McNemar p", found.p_value === null ? "–" : found.p_value < 0.001 ? "< 0.001" : found.p_value.toFixed(3)),
    ),
    forestChart("Right minus left, in points", [
      { name: "Difference", value: found.points, low: found.low, high: found.high },
    ]),
    h(
      "p",
      {},
      `${signed(found.points)} points${found.low === null ? "" : ` [${signed(found.low)}, ${signed(found.high)}]`} over ${plural(found.databases, "database")}. ${clear}`,
    ),
    h(
      "p",
      { class: "muted small" },
      "95 % interval, normal, errors clustered by database. ",
      found.left.alone + found.right.alone > 0 &&
        `Left out: ${count(found.left.alone)} questions of the left alone, ${count(found.right.alone)} of the right alone.`,
    ),
  );
}

function card(one, found) {
  const { question } = one;
  return h(
    "article",
    { class: "card" },
    h("h3", { class: "question" }, question.question),
    h("p", { class: "row" }, tag(question.set), tag(words(question.domain)), tag(question.hardness ?? question.level)),
    h("section", { class: "side" }, h("h4", { class: "small" }, "Gold"), sqlBlock(question.gold)),
    h(
      "div",
      { class: "two" },
      [
        ["left", "Left"],
        ["right", "Right"],
      ].map(([name, title]) =>
        h(
          "section",
          { class: "side" },
          h("h4", { class: "small" }, `${title}: ${found[name].title}`),
          one[name].slice(0, 3).map((answer) => answerOf(answer, question.gold)),
        ),
      ),
    ),
  );
}
