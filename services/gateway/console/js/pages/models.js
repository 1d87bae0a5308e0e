// Models: what is served now, and what was trained, where this gateway has the register.

import { get, knows, post } from "../api.js";
import { announce, h } from "../dom.js";
import { bytes } from "../format.js";
import { chip, empty, fault, head, pager, tag } from "../parts.js";

export default async function models(context) {
  context.title("Models");
  const [served, trained] = await Promise.all([list("/v1/models", {}, context), registered(context)]);
  const names = new Set((served.data ?? []).map((one) => one.id));
  context.show(
    head("Models"),
    h(
      "section",
      { class: "stack" },
      h("h2", {}, "Served now"),
      served.error
        ? fault(served.error)
        : served.data.length
          ? servedTable(served.data)
          : empty("Nothing is served.", "A job of kind deployment or pipeline puts a model on the engine."),
    ),
    trained &&
      h(
        "section",
        { class: "stack" },
        h("h2", {}, "Trained"),
        trained.error
          ? fault(trained.error)
          : trained.data.length
            ? trained.data.map((one) => trainedCard(one, names))
            : empty("Nothing was trained yet.", h("a", { href: "#/new" }, "Write a job")),
        trained.data && pager(context, trained, "models"),
      ),
  );
}

async function list(path, query, context) {
  try {
    return await get(path, query, context.signal);
  } catch (error) {
    if (error.status === 401 || error.name === "AbortError") throw error;
    return { error };
  }
}

/** The register is an address of its own, which older gateways lack. */
const registered = async (context) =>
  (await knows("/v1/adapters"))
    ? list("/v1/adapters", { limit: 20, after: context.query.get("after") }, context)
    : null;

const asked = (id) => h("a", { class: "button", href: `#/ask?${new URLSearchParams({ model: id })}` }, "Ask it");

function servedTable(data) {
  return h(
    "div",
    { class: "card" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "Name"),
          h("th", { scope: "col" }, h("span", { class: "unseen" }, "Actions")),
        ),
      ),
      h(
        "tbody",
        {},
        data.map((one) => h("tr", {}, h("td", {}, h("code", {}, one.id)), h("td", { class: "num" }, asked(one.id)))),
      ),
    ),
  );
}

function trainedCard(one, served) {
  const told = h("div", {});
  const submit = (what, said) => async (event) => {
    event.target.disabled = true;
    try {
      const job = await post(`/v1/adapters/${encodeURIComponent(one.id)}/${what}`);
      announce(said);
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      event.target.disabled = false;
      told.replaceChildren(fault(error));
    }
  };
  const facts = [
    ["Base", one.base],
    ["Continues", one.parent],
    ["Weights", bytes(one.weight_bytes)],
    ["Made by", h("a", { href: `#/jobs/${one.job_id}` }, `${one.stage} of ${one.job_id}`)],
  ];
  return h(
    "article",
    { class: "card" },
    h(
      "div",
      { class: "row apart" },
      h("h3", {}, h("code", {}, one.id)),
      served.has(one.id)
        ? h(
            "span",
            { class: "row" },
            asked(one.id),
            h(
              "button",
              { type: "button", onclick: submit("undeploy", "The model leaves the engine, by a job") },
              "Stop serving",
            ),
          )
        : h("button", { type: "button", onclick: submit("deploy", "The deployment is submitted") }, "Deploy"),
    ),
    h(
      "p",
      { class: "row" },
      served.has(one.id) ? chip("served", "good") : tag("at rest"),
      tag(one.method),
      tag(one.mode),
    ),
    h(
      "dl",
      { class: "facts" },
      facts
        .filter(([, value]) => value)
        .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: "small" }, value))),
    ),
    told,
  );
}
