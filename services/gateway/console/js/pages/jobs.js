// The jobs, newest first.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { ago, duration, when } from "../format.js";
import { chip, empty, filter, head, pager, tag } from "../parts.js";
import { schemas } from "../schema.js";

const REFRESH_MS = 4000;

export default async function jobs(context) {
  context.title("Jobs");
  const query = Object.fromEntries(context.query);
  const read = () => get("/v1/jobs", { limit: 20, ...query }, context.signal);
  const known = await schemas();
  const body = h("div", { class: "stack loose" });
  const filters = h(
    "div",
    { class: "filters" },
    filter(context, "Kind", "kind", [["", "All kinds"], ...Object.keys(known.specs)]),
    filter(context, "Status", "status", [["", "Any status"], ...known.choices("JobSummary", "status")]),
  );
  const page = await read();
  draw(context, body, page);
  context.show(head("Jobs"), filters, body);
  refresh(context, body, read, page);
}

/** Looks again now and then while something on the page is alive and the page is seen. */
function refresh(context, body, read, page) {
  const timer = setInterval(async () => {
    if (document.hidden || !page.data.some((job) => ["queued", "running", "cancelling"].includes(job.status))) return;
    if (body.contains(document.activeElement)) return;
    try {
      page = await read();
      draw(context, body, page);
    } catch {
      /* the next look may work */
    }
  }, REFRESH_MS);
  context.signal.addEventListener("abort", () => clearInterval(timer));
}

function draw(context, body, page) {
  if (!page.data.length) {
    const any = context.query.size > 0;
    replace(
      body,
      empty(
        any ? "No job fits these filters." : "No jobs yet.",
        any ? h("a", { href: "#/jobs" }, "Show all jobs") : h("a", { href: "#/new" }, "Write the first one"),
      ),
    );
    return;
  }
  const names = ["Name", "Kind", "Status", "Progress", "Time", "Created"];
  replace(
    body,
    h(
      "div",
      { class: "card" },
      h(
        "table",
        { class: "jobs" },
        h("caption", { class: "unseen" }, "Jobs, newest first"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            names.map((name) => h("th", { scope: "col", class: name === "Created" ? "num" : null }, name)),
          ),
        ),
        h("tbody", {}, page.data.map(jobRow)),
      ),
    ),
    pager(context, page, "jobs"),
  );
}

function jobRow(job) {
  const { done, total, failed } = job.progress;
  const seconds = job.started_at ? (job.finished_at ?? Date.now() / 1000) - job.started_at : null;
  const share = total ? Math.round((100 * done) / total) : 0;
  const fill = h("div", { class: `bar-fill ${job.status === "succeeded" ? "done" : ""}` });
  fill.style.width = `${share}%`;
  return h(
    "tr",
    {},
    h(
      "td",
      {},
      h("a", { class: "job-name", href: `#/jobs/${job.id}` }, job.name),
      h("div", { class: "muted small" }, h("code", {}, job.id), job.owner && ` · ${job.owner.name}`),
    ),
    h("td", {}, tag(job.kind)),
    h("td", {}, chip(job.status), job.error && h("div", { class: "muted small" }, job.error.message.slice(0, 90))),
    h(
      "td",
      {},
      h("div", { class: "meter", role: "img", "aria-label": `${done} of ${total} shards done` }, fill),
      h("div", { class: "muted small" }, `${done} / ${total}`, failed > 0 && `, ${failed} lost`),
    ),
    h("td", {}, duration(seconds)),
    h("td", { class: "num", title: when(job.created_at) }, ago(job.created_at)),
  );
}
