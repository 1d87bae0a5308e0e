// A report: the page that the service rendered, and every question behind it.

import { file, get } from "../api.js";
import { h } from "../dom.js";
import { when } from "../format.js";
import { head, tag } from "../parts.js";
import { losses } from "../questions.js";
import { fileLink } from "./files.js";

export default async function report(context) {
  const [id] = context.params;
  const found = await get(`/v1/reports/${id}`, {}, context.signal);
  context.title(`Report of ${found.job_name}`);
  const forms = found.artifacts.filter((one) => /^report\.(html|md|txt|json)$/.test(one.name));
  const below = h(
    "p",
    { class: "row" },
    tag(found.kind),
    h("span", { class: "muted small" }, when(found.created_at)),
    forms.map((one) => fileLink(id, one)),
  );
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
    forms.some((one) => one.name === "report.html") && (await rendered(id, context.signal)),
    questions,
  );
  await losses(context, found, questions);
}

/** The rendered page in a frame that runs no script and is as high as its content. */
async function rendered(id, signal) {
  const page = await file(`/v1/jobs/${id}/artifacts/report.html`, signal);
  const address = URL.createObjectURL(new Blob([page], { type: "text/html" }));
  const frame = h("iframe", { class: "report", title: "Report", sandbox: "allow-same-origin", src: address });
  frame.addEventListener("load", () => {
    URL.revokeObjectURL(address);
    const content = frame.contentDocument.documentElement;
    const fit = () => {
      frame.style.height = `${content.offsetHeight}px`;
    };
    new ResizeObserver(fit).observe(content);
    fit();
  });
  return frame;
}
