// Models: what is served now, and what was trained, where this gateway has the register.

import { get, knows } from "../api.js";
import { h } from "../dom.js";
import { when } from "../format.js";
import { chip, empty, fault, head } from "../parts.js";

export default async function models(context) {
  context.title("Models");
  const [served, trained] = await Promise.all([list("/v1/models", context), registered(context)]);
  const names = new Set((served.data ?? []).map((one) => one.id));
  context.show(head("Models"),
    h("section", { class: "stack" }, h("h2", {}, "Served now"), served.error ? fault(served.error) : served.data.length ? servedTable(served.data) : empty("Nothing is served.", "A job of kind deployment or pipeline puts a model on the engine.")),
    trained && h("section", { class: "stack" }, h("h2", {}, "Trained"), trained.error ? fault(trained.error) : trained.data.length ? trainedTable(trained.data, names) : empty("Nothing was trained yet.", h("a", { href: "#/new" }, "Write a job"))));
}

async function list(path, context) {
  try { return { data: (await get(path, {}, context.signal)).data }; } catch (error) { if (error.status === 401) throw error; return { error }; }
}

/** The register is an address of its own, which older gateways lack. */
const registered = async (context) => ((await knows("/v1/adapters")) ? list("/v1/adapters", context) : null);

const asked = (id) => h("a", { href: `#/ask?${new URLSearchParams({ model: id })}` }, "Ask it");

function servedTable(data) {
  return h("div", { class: "card" }, h("table", {}, h("thead", {}, h("tr", {}, ["Name", ""].map((name) => h("th", { scope: "col" }, name || h("span", { class: "unseen" }, "Actions"))))),
    h("tbody", {}, data.map((one) => h("tr", {}, h("td", {}, h("code", {}, one.id)), h("td", { class: "num" }, asked(one.id)))))));
}

function trainedTable(data, served) {
  return h("div", { class: "card" }, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Trained models" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Name", "Method", "Base", "Parent", "Job", "Made", "State"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, data.map((one) => { const id = one.name ?? one.id; return h("tr", {},
      h("td", {}, h("code", {}, id)), h("td", {}, one.method ?? "–"), h("td", {}, one.base ?? "–"), h("td", {}, one.parent ?? "–"),
      h("td", {}, one.job_id ? h("a", { href: `#/jobs/${one.job_id}` }, one.job_id) : "–"), h("td", {}, one.created_at ? when(one.created_at) : "–"), h("td", {}, served.has(id) ? chip("served", "good") : "at rest")); })))));
}
