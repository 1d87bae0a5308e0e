// A report's numbers: arms with their intervals, datasets, differences.

import { barChart, forestChart } from "./chart.js";
import { h } from "./dom.js";
import { percent, plural, signed } from "./format.js";

/** Arms of each set, by execution accuracy with its interval. */
export function scores(doc) {
  const sets = (doc.sets ?? []).filter((set) => (doc.scores ?? []).some((one) => one.set_name === set.name));
  return h(
    "section",
    { class: "stack" },
    h("h2", {}, "Execution accuracy"),
    h(
      "div",
      { class: "two" },
      sets.map((set) => {
        const rows = doc.scores.filter((one) => one.set_name === set.name && one.accuracy !== null);
        return h(
          "div",
          { class: "card" },
          barChart(
            set.name,
            rows.map((one) => ({
              name: one.arm.title,
              value: one.accuracy,
              low: one.interval?.low,
              high: one.interval?.high,
            })),
          ),
          h(
            "p",
            { class: "muted small" },
            `${set.scored} of ${plural(set.questions, "question")} count, over ${plural(set.databases, "database")}. Lines are 95 % intervals.`,
          ),
          scoreTable(rows),
        );
      }),
    ),
  );
}

function scoreTable(rows) {
  return h(
    "details",
    {},
    h("summary", {}, "As a table"),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Arm", "Correct", "Accuracy", "Interval", "Invalid SQL"].map((name, n) =>
              h("th", { scope: "col", class: n ? "num" : null }, name),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          rows.map((one) =>
            h(
              "tr",
              {},
              h("td", {}, one.arm.title),
              h("td", { class: "num" }, `${one.correct} / ${one.rows}`),
              h("td", { class: "num" }, percent(one.accuracy)),
              h(
                "td",
                { class: "num" },
                one.interval ? `${percent(one.interval.low)} – ${percent(one.interval.high)}` : "–",
              ),
              h("td", { class: "num" }, percent(one.invalid_sql)),
            ),
          ),
        ),
      ),
    ),
  );
}

export function benchmarks(doc) {
  return (doc.benchmarks ?? []).map((board) =>
    h(
      "section",
      { class: "card" },
      h("h2", {}, `${board.dataset}, ${board.split}`),
      h(
        "p",
        { class: "muted" },
        `${plural(board.questions, "question")} by the ${board.policy} policy; its golds allow ${percent(board.ceiling)} at the most.`,
      ),
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores on the dataset" },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ["Arm", "Official", "Strict", "Majority", ...Object.keys(board.arms[0]?.hardness ?? {})].map((name, n) =>
                h("th", { scope: "col", class: n ? "num" : null }, name),
              ),
            ),
          ),
          h(
            "tbody",
            {},
            board.arms.map((one) =>
              h(
                "tr",
                {},
                h("td", {}, one.arm.title),
                [one.official, one.strict, one.majority, ...Object.values(one.hardness)].map((tally) =>
                  h(
                    "td",
                    { class: "num", title: tally ? `${tally.correct} of ${tally.total}` : null },
                    tally?.total ? percent(tally.correct / tally.total) : "–",
                  ),
                ),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

/** Paired differences, each with its interval: whether it is clear of zero is what counts. */
export function comparisons(doc) {
  const sets = [...new Set((doc.comparisons ?? []).map((one) => one.set_name))];
  if (!sets.length) return null;
  return h(
    "section",
    { class: "stack" },
    h("h2", {}, "Differences"),
    doc.credit && h("p", {}, doc.credit),
    h(
      "div",
      { class: "two" },
      sets.map((set) => {
        const rows = doc.comparisons.filter((one) => one.set_name === set);
        return h(
          "div",
          { class: "card" },
          forestChart(
            `${set}, in points`,
            rows.map((one) => ({
              name: `${one.arm_title} vs ${one.other_title}`,
              value: one.points,
              low: one.interval?.low,
              high: one.interval?.high,
            })),
          ),
          h(
            "details",
            {},
            h("summary", {}, "As a table"),
            h(
              "div",
              { class: "scroll", tabindex: "0", role: "region", "aria-label": "Differences" },
              h(
                "table",
                {},
                h(
                  "thead",
                  {},
                  h(
                    "tr",
                    {},
                    ["Difference", "Points", "Won", "Lost", "McNemar p", "Reading"].map((name) =>
                      h("th", { scope: "col" }, name),
                    ),
                  ),
                ),
                h(
                  "tbody",
                  {},
                  rows.map((one) =>
                    h(
                      "tr",
                      {},
                      h("td", {}, `${one.arm_title} vs ${one.other_title}`),
                      h("td", {}, signed(one.points)),
                      h("td", {}, one.wins),
                      h("td", {}, one.losses),
                      h("td", {}, one.p_value === null ? "–" : one.p_value < 0.001 ? "<0.001" : one.p_value.toFixed(3)),
                      h("td", {}, one.conclusion),
                    ),
                  ),
                ),
              ),
            ),
          ),
        );
      }),
    ),
  );
}
