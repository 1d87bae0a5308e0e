// A report: what it found, its arms with their intervals, and the questions that were lost.

import { get } from "../api.js";
import { barChart, forestChart, lineChart, timeChart } from "../chart.js";
import { h, replace } from "../dom.js";
import { count, duration, percent, plural, signed, when, words } from "../format.js";
import { chip, empty, filter, head, pager, tag } from "../parts.js";
import { sqlBlock, sqlDiff } from "../sql.js";
import { fileLink } from "./files.js";

export default async function report(context) {
  const [id] = context.params;
  const found = await get(`/v1/reports/${id}`, {}, context.signal);
  const doc = found.document;
  context.title(`Report of ${found.job_name}`);
  const forms = found.artifacts.filter((one) => /^report\.(html|md|txt|json)$/.test(one.name));
  const below = h("p", { class: "row" }, tag(found.kind), h("span", { class: "muted small" }, when(found.created_at)));
  const questions = h("section", { class: "stack loose", id: "questions" });
  context.show(
    head(found.job_name, { crumb: [h("a", { href: "#/reports" }, "Reports"), " / ", h("code", {}, id)], below, actions: [h("a", { class: "button", href: `#/jobs/${id}` }, "The job"), h("a", { class: "button", href: `#/reports/compare?left=${id}` }, "Compare")] }),
    h("section", { class: "card" }, h("h2", {}, "What it shows"), h("ul", { class: "findings" }, (doc.findings ?? []).map((text) => h("li", {}, text)))),
    scores(doc), benchmarks(doc), comparisons(doc), making(doc),
    h("section", { class: "card" }, h("h2", {}, "What limits it"), h("ul", { class: "caveats stack" }, (doc.caveats ?? []).map((text) => h("li", {}, text)))),
    questions,
    forms.length > 0 && h("section", { class: "card" }, h("h2", {}, "The report in other forms"), h("p", { class: "row" }, forms.map((one) => fileLink(id, one)))));
  await losses(context, found, questions);
}

/** Arms of each set, by execution accuracy with its interval. */
function scores(doc) {
  const sets = (doc.sets ?? []).filter((set) => (doc.scores ?? []).some((one) => one.set_name === set.name));
  return h("section", { class: "stack" }, h("h2", {}, "Execution accuracy"), h("div", { class: "two" }, sets.map((set) => {
    const rows = doc.scores.filter((one) => one.set_name === set.name && one.accuracy !== null);
    return h("div", { class: "card" },
      barChart(set.name, rows.map((one) => ({ name: one.arm.title, value: one.accuracy, low: one.interval?.low, high: one.interval?.high }))),
      h("p", { class: "muted small" }, `${set.scored} of ${plural(set.questions, "question")} count, over ${plural(set.databases, "database")}. Lines are 95 % intervals.`),
      scoreTable(rows));
  })));
}

function scoreTable(rows) {
  return h("details", {}, h("summary", {}, "As a table"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Arm", "Correct", "Accuracy", "Interval", "Invalid SQL"].map((name, n) => h("th", { scope: "col", class: n ? "num" : null }, name)))),
    h("tbody", {}, rows.map((one) => h("tr", {}, h("td", {}, one.arm.title), h("td", { class: "num" }, `${one.correct} / ${one.rows}`), h("td", { class: "num" }, percent(one.accuracy)), h("td", { class: "num" }, one.interval ? `${percent(one.interval.low)} – ${percent(one.interval.high)}` : "–"), h("td", { class: "num" }, percent(one.invalid_sql))))))));
}

function benchmarks(doc) {
  return (doc.benchmarks ?? []).map((board) => h("section", { class: "card" },
    h("h2", {}, `${board.dataset}, ${board.split}`),
    h("p", { class: "muted" }, `${plural(board.questions, "question")} by the ${board.policy} policy; its golds allow ${percent(board.ceiling)} at the most.`),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores on the data set" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Arm", "Official", "Strict", "Majority", ...Object.keys(board.arms[0]?.hardness ?? {})].map((name, n) => h("th", { scope: "col", class: n ? "num" : null }, name)))),
      h("tbody", {}, board.arms.map((one) => h("tr", {}, h("td", {}, one.arm.title), [one.official, one.strict, one.majority, ...Object.values(one.hardness)].map((tally) => h("td", { class: "num", title: tally ? `${tally.correct} of ${tally.total}` : null }, tally?.total ? percent(tally.correct / tally.total) : "–")))))))));
}

/** Paired differences, each with its interval: whether it is clear of zero is what counts. */
function comparisons(doc) {
  const sets = [...new Set((doc.comparisons ?? []).map((one) => one.set_name))];
  if (!sets.length) return null;
  return h("section", { class: "stack" }, h("h2", {}, "Differences"), doc.credit && h("p", {}, doc.credit), h("div", { class: "two" }, sets.map((set) => {
    const rows = doc.comparisons.filter((one) => one.set_name === set);
    return h("div", { class: "card" }, forestChart(`${set}, in points`, rows.map((one) => ({ name: `${one.arm_title} vs ${one.other_title}`, value: one.points, low: one.interval?.low, high: one.interval?.high }))),
      h("details", {}, h("summary", {}, "As a table"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Differences" }, h("table", {},
        h("thead", {}, h("tr", {}, ["Difference", "Points", "Won", "Lost", "McNemar p", "Reading"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, rows.map((one) => h("tr", {}, h("td", {}, `${one.arm_title} vs ${one.other_title}`), h("td", {}, signed(one.points)), h("td", {}, one.wins), h("td", {}, one.losses), h("td", {}, one.p_value === null ? "–" : one.p_value < 0.001 ? "<0.001" : one.p_value.toFixed(3)), h("td", {}, one.conclusion))))))));
  })));
}

/** How the models came about: data, pairs, training, time. */
function making(doc) {
  const { data, pairs, training = [], timeline, promotion } = doc;
  return h("section", { class: "stack" }, h("h2", {}, "How it was made"), promotion && h("p", {}, promotion.reason), h("div", { class: "two" },
    training.length > 0 && h("div", { class: "card" }, lineChart("Training loss", training.slice(0, 5).map((one) => ({ name: one.stage_id, points: one.curve }))), h("p", { class: "muted small" }, training.map((one) => `${one.stage_id}: ${plural(one.steps, "step")} on ${plural(one.rows, "row")}, ${duration(one.seconds)}`).join("; "))),
    pairs && h("div", { class: "card" }, h("h3", {}, "Preference pairs"), facts([["Questions", count(pairs.questions)], ["Samples each", pairs.samples_per_question], ["Pairs", count(pairs.pairs)], ["Weak model", pairs.weak_model]]), h("p", { class: "row" }, Object.entries(pairs.verdicts).map(([name, n]) => [chip(name), ` ${count(n)}`])), doc.pair_note && h("p", { class: "muted small" }, doc.pair_note), Object.keys(pairs.excluded).length > 0 && h("p", { class: "muted small" }, "No pair from: ", Object.entries(pairs.excluded).map(([name, n]) => `${words(name)} ${count(n)}`).join(", "))),
    data && h("div", { class: "card" }, h("h3", {}, "Training data"), facts([["Accepted", count(data.accepted)], ["Asked for", count(data.requested)], ...Object.entries(data.levels).map(([name, n]) => [words(name), count(n)])]), h("p", { class: "muted small" }, doc.data_source), Object.keys(data.rejected).length > 0 && h("p", { class: "muted small" }, "Rejected: ", Object.entries(data.rejected).map(([name, n]) => `${words(name)} ${count(n)}`).join(", "))),
    timeline?.stages.length > 0 && h("div", { class: "card" }, timeChart("Time", timeline.stages.map((one) => ({ name: one.stage_id, start: one.first_start, end: one.last_end }))), timeline.sentences.map((text) => h("p", { class: "muted small" }, text)))));
}

const facts = (list) => h("dl", { class: "facts" }, list.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

const ONLY = [["", "All questions"], ["wrong", "Answered wrongly"], ["right", "Answered rightly"], ["lost", "Lost against…"], ["won", "Won against…"], ["differ", "Different from…"]];

/** Questions, filtered by what an arm made of them. */
async function losses(context, found, node) {
  const arms = Object.entries(found.arms);
  if (!arms.length) return;
  const pick = (wanted) => arms.find(([name]) => wanted.includes(name))?.[0];
  const asked = Object.fromEntries(context.query);
  const arm = asked.arm ?? pick(["dpo", "sft"]) ?? arms[0][0];
  const against = asked.against ?? (arm === "sft" ? pick(["base"]) : pick(["sft", "base"])) ?? arms[0][0];
  const only = asked.only ?? "";
  const query = { limit: 10, set: asked.set, after: asked.after, ...(only ? { only, arm } : {}), ...(["lost", "won", "differ"].includes(only) ? { against } : {}) };
  const page = await get(`/v1/reports/${found.job_id}/questions`, query, context.signal);
  const chosen = { ...context, query: new URLSearchParams({ ...asked, arm, against }) };
  replace(node, h("h2", {}, "Questions"),
    h("div", { class: "filters", role: "group", "aria-label": "Filters" }, filter(context, "Show", "only", ONLY), filter(chosen, "Arm", "arm", arms), filter(chosen, "Against", "against", arms), filter(context, "Set", "set", [["", "All sets"], ...found.sets])),
    page.data.length ? page.data.map((one) => questionCard(one, found.arms, arm, against)) : !page.has_more && empty("No question fits."),
    pager(context, page, "questions"));
}

export function questionCard(one, titles, arm, against) {
  const shown = [...new Set([arm, against])].filter((name) => one.arms[name]);
  return h("article", { class: "card" },
    h("h3", { class: "question" }, one.question), one.evidence && h("p", { class: "muted" }, one.evidence),
    h("p", { class: "row" }, tag(one.set), tag(words(one.domain)), tag(one.hardness ?? one.level), !one.scored && chip("not scored", "warn"), h("a", { class: "small", href: `#/databases/${one.database_id}` }, "Database")),
    h("section", { class: "side" }, h("h4", { class: "small" }, "Gold"), sqlBlock(one.gold)),
    h("div", { class: "two" }, shown.map((name) => h("section", { class: "side" }, h("h4", { class: "small" }, titles[name] ?? name), one.arms[name].slice(0, 3).map((answer) => answerOf(answer, one.gold)), one.arms[name].length > 3 && h("p", { class: "muted small" }, `and ${one.arms[name].length - 3} more samples`)))));
}

/** An answer with its verdict; what the gold has not is marked where it is wrong. */
export function answerOf(answer, gold) {
  return h("div", { class: "stack" }, h("p", { class: "row" }, chip(answer.verdict), answer.outcome !== "ok" && answer.outcome !== answer.verdict && chip(answer.outcome)), answer.sql && !answer.ex ? sqlDiff(gold, answer.sql)[1] : sqlBlock(answer.sql));
}
