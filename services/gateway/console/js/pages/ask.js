// A question to a model about a database: its SQL, and what that returns.

import { get, post } from "../api.js";
import { h, replace } from "../dom.js";
import { duration, plural, short } from "../format.js";
import { chip, fault, field, head, opened, resultTable, schemaCard, schemaView } from "../parts.js";
import { sqlBlock } from "../sql.js";

export default async function ask(context) {
  context.title("Ask");
  const [models, databases] = await Promise.all([
    named("/v1/models", context),
    named("/v1/databases?limit=100", context),
  ]);
  const query = context.query;
  const model = select(
    "model",
    [...models.data.map((one) => [one.id, one.id])],
    query.get("model"),
    "the newest trained one",
  );
  const own = databases.data.map((one) => [one.id, one.name || short(one.id)]);
  const given = query.get("database");
  if (given && !own.some(([id]) => id === given)) own.unshift([given, `${short(given)} (from a job)`]);
  const database = select("database", own, given, "choose a database", true);
  const question = h("textarea", {
    name: "question",
    rows: 3,
    maxlength: 4000,
    required: true,
    value: query.get("question") ?? "",
  });
  const evidence = h("input", { name: "evidence", maxlength: 4000, value: query.get("evidence") ?? "" });
  const samples = h("input", { name: "n", type: "number", min: 1, max: 32, value: 1 });
  const repair = h(
    "select",
    { name: "repair" },
    h("option", { value: "" }, "no"),
    h("option", { value: "yes" }, "once, with the error shown"),
  );
  const answer = h("section", { "aria-live": "polite", "aria-label": "Answer" });
  const schema = h("div", {});
  const showSchema = () =>
    replace(
      schema,
      database.value &&
        opened("Schema of this database", async () => schemaView((await schemaCard(database.value)).card)),
    );
  database.addEventListener("change", showSchema);
  showSchema();
  const button = h("button", { type: "submit", class: "primary" }, "Ask");
  const form = h(
    "form",
    {
      class: "card stack",
      onsubmit: async (event) => {
        event.preventDefault();
        button.disabled = true;
        replace(
          answer,
          h(
            "p",
            { class: "muted" },
            "The model is writing… the first answer after a start takes longer, because its weights are loaded.",
          ),
        );
        const asked = {
          question: question.value,
          database_id: database.value,
          execute: true,
          ...(model.value ? { model: model.value } : {}),
          ...(evidence.value ? { evidence: evidence.value } : {}),
          ...(samples.value > 1 ? { n: Number(samples.value) } : {}),
          ...(repair.value ? { repair: true } : {}),
        };
        try {
          replace(answer, show(await post("/v1/sql", asked, { signal: context.signal })));
        } catch (error) {
          if (error.name !== "AbortError") replace(answer, fault(error));
        }
        button.disabled = false;
      },
    },
    h(
      "div",
      { class: "two" },
      field("Database", database, databases.data.length || given ? null : "None yet: upload one under Databases."),
      field("Model", model),
    ),
    field("Question", question),
    field("External knowledge (optional)", evidence),
    h("div", { class: "filters" }, field("Samples to vote", samples), field("Repair a failing SQL", repair)),
    h("div", { class: "row" }, button),
    schema,
  );
  context.show(head("Ask a question"), models.error && fault(models.error), form, answer);
}

async function named(path, context) {
  try {
    return await get(path, {}, context.signal);
  } catch (error) {
    if (error.status === 401) throw error;
    return { data: [], error };
  }
}

function select(name, options, chosen, none, required = false) {
  return h(
    "select",
    { name, required },
    h("option", { value: "" }, none),
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
}

/** The answer's SQL and its rows; samples with their votes, and what was repaired. */
function show(found) {
  const samples =
    found.samples?.length > 1 &&
    h(
      "details",
      {},
      h("summary", {}, plural(found.samples.length, "different sample")),
      h(
        "div",
        { class: "stack" },
        found.samples.map((one) =>
          h(
            "div",
            { class: "side" },
            h(
              "p",
              { class: "row" },
              one.outcome && chip(one.outcome),
              h("span", { class: "muted small" }, `${plural(one.count, "time")}, ${plural(one.votes, "vote")}`),
            ),
            sqlBlock(one.sql),
          ),
        ),
      ),
    );
  const repaired =
    found.repaired &&
    h(
      "details",
      {},
      h("summary", {}, "Before its repair"),
      sqlBlock(found.repaired.sql),
      h("p", { class: "muted small" }, found.repaired.message),
    );
  return h(
    "article",
    { class: "card" },
    h(
      "div",
      { class: "row" },
      h("h2", {}, "Answer"),
      found.outcome && chip(found.outcome),
      h("code", { class: "muted small" }, found.model),
    ),
    sqlBlock(found.sql),
    found.warnings?.length > 0 &&
      h(
        "div",
        { class: "notice warn" },
        h(
          "ul",
          {},
          found.warnings.map((one) => h("li", {}, one)),
        ),
      ),
    found.result
      ? resultTable(found.result, "Rows of the answer")
      : found.message && h("p", { class: "muted small" }, found.message),
    repaired,
    samples,
    found.elapsed_ms > 0 && h("p", { class: "muted small" }, `In ${duration(found.elapsed_ms / 1000)}`),
  );
}
