// A report: what it found, its arms with their intervals, and the questions that were lost.

import { get } from "../api.js";
import { h } from "../dom.js";
import { when } from "../format.js";
import { head, tag } from "../parts.js";
import { losses } from "../questions.js";
import { making } from "../report_making.js";
import { benchmarks, comparisons, scores } from "../report_scores.js";
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
    head(found.job_name, {
      crumb: [h("a", { href: "#/reports" }, "Reports"), " / ", h("code", {}, id)],
      below,
      actions: [
        h("a", { class: "button", href: `#/jobs/${id}` }, "The job"),
        h("a", { class: "button", href: `#/reports/compare?left=${id}` }, "Compare"),
      ],
    }),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "What it shows"),
      h(
        "ul",
        { class: "findings" },
        (doc.findings ?? []).map((text) => h("li", {}, text)),
      ),
    ),
    scores(doc),
    benchmarks(doc),
    comparisons(doc),
    making(doc),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "What limits it"),
      h(
        "ul",
        { class: "caveats stack" },
        (doc.caveats ?? []).map((text) => h("li", {}, text)),
      ),
    ),
    questions,
    forms.length > 0 &&
      h(
        "section",
        { class: "card" },
        h("h2", {}, "The report in other forms"),
        h(
          "p",
          { class: "row" },
          forms.map((one) => fileLink(id, one)),
        ),
      ),
  );
  await losses(context, found, questions);
}
