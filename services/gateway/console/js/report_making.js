// How the models of a report came about.

import { lineChart, timeChart } from "./chart.js";
import { h } from "./dom.js";
import { count, duration, plural, words } from "./format.js";
import { chip } from "./parts.js";

/** How the models came about: data, pairs, training, time. */
export function making(doc) {
  const { data, pairs, training = [], timeline, promotion } = doc;
  return h(
    "section",
    { class: "stack" },
    h("h2", {}, "How it was made"),
    promotion && h("p", {}, promotion.reason),
    h(
      "div",
      { class: "two" },
      training.length > 0 &&
        h(
          "div",
          { class: "card" },
          lineChart(
            "Training loss",
            training.slice(0, 5).map((one) => ({ name: one.stage_id, points: one.curve })),
          ),
          h(
            "p",
            { class: "muted small" },
            training
              .map(
                (one) =>
                  `${one.stage_id}: ${plural(one.steps, "step")} on ${plural(one.rows, "row")}, ${duration(one.seconds)}`,
              )
              .join("; "),
          ),
        ),
      pairs &&
        h(
          "div",
          { class: "card" },
          h("h3", {}, "Preference pairs"),
          facts([
            ["Questions", count(pairs.questions)],
            ["Samples each", pairs.samples_per_question],
            ["Pairs", count(pairs.pairs)],
            ["Weak model", pairs.weak_model],
          ]),
          h(
            "p",
            { class: "row" },
            Object.entries(pairs.verdicts).map(([name, n]) => [chip(name), ` ${count(n)}`]),
          ),
          doc.pair_note && h("p", { class: "muted small" }, doc.pair_note),
          Object.keys(pairs.excluded).length > 0 &&
            h(
              "p",
              { class: "muted small" },
              "No pair from: ",
              Object.entries(pairs.excluded)
                .map(([name, n]) => `${words(name)} ${count(n)}`)
                .join(", "),
            ),
        ),
      data &&
        h(
          "div",
          { class: "card" },
          h("h3", {}, "Training data"),
          facts([
            ["Accepted", count(data.accepted)],
            ["Asked for", count(data.requested)],
            ...Object.entries(data.levels).map(([name, n]) => [words(name), count(n)]),
          ]),
          h("p", { class: "muted small" }, doc.data_source),
          Object.keys(data.rejected).length > 0 &&
            h(
              "p",
              { class: "muted small" },
              "Rejected: ",
              Object.entries(data.rejected)
                .map(([name, n]) => `${words(name)} ${count(n)}`)
                .join(", "),
            ),
        ),
      timeline?.stages.length > 0 &&
        h(
          "div",
          { class: "card" },
          timeChart(
            "Time",
            timeline.stages.map((one) => ({ name: one.stage_id, start: one.first_start, end: one.last_end })),
          ),
          timeline.sentences.map((text) => h("p", { class: "muted small" }, text)),
        ),
    ),
  );
}

const facts = (list) =>
  h(
    "dl",
    { class: "facts" },
    list.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
