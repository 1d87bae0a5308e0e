// Everything that a job's finished shards left.

import { get, key, save } from "../api.js";
import { h } from "../dom.js";
import { bytes, plural } from "../format.js";
import { empty, jobHead } from "../parts.js";

const SHOWN = 500;

export default async function files(context) {
  const [id] = context.params;
  const [job, list] = await Promise.all([
    get(`/v1/jobs/${id}`, {}, context.signal),
    get(`/v1/jobs/${id}/artifacts`, {}, context.signal),
  ]);
  context.title(`Files of ${job.name}`);
  const single = new Set(job.artifacts.map((one) => one.name));
  const sorted = [...list.data].sort((a, b) => Number(single.has(b.name)) - Number(single.has(a.name)));
  context.show(
    jobHead(job, "files"),
    sorted.length ? table(id, sorted) : empty("No files yet.", "They appear as shards are done."),
  );
}

function table(id, list) {
  return h(
    "div",
    { class: "card" },
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Files" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Name", "Stage", "Size", "SHA-256"].map((name) =>
              h("th", { scope: "col", class: name === "Size" ? "num" : null }, name),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          list
            .slice(0, SHOWN)
            .map((one) =>
              h(
                "tr",
                {},
                h("td", {}, fileLink(id, one)),
                h("td", {}, one.stage),
                h("td", { class: "num" }, bytes(one.size)),
                h("td", {}, h("code", { class: "muted", title: one.sha256 }, one.sha256.slice(0, 12))),
              ),
            ),
        ),
      ),
    ),
    list.length > SHOWN &&
      h(
        "p",
        { class: "muted" },
        `The first ${SHOWN} of ${plural(list.length, "file")}; the rest by `,
        h("code", {}, `sense artifacts ${id}`),
        ".",
      ),
  );
}

/** A link where the browser may ask by itself; with a key the page fetches the file and saves it. */
export function fileLink(id, artifact, text = artifact.name) {
  const href = `/v1/jobs/${id}/artifacts/${artifact.name.split("/").map(encodeURIComponent).join("/")}`;
  const fetched = (event) => {
    if (key.get()) {
      event.preventDefault();
      save(href, artifact.filename);
    }
  };
  return h("a", { href, target: "_blank", rel: "noopener noreferrer", onclick: fetched }, text);
}
