// The fields of the submit form: where each stands in a spec, and for which kinds. What can be chosen, the defaults and
// the bounds come from the gateway's own schema.

import { words } from "./format.js";

const LEARN = ["pipeline", "pairing", "synthesis"];
const number = (path, label, more = {}) => ({ path, label, type: "number", ...more });
const text = (path, label, more = {}) => ({ path, label, type: "text", ...more });
const share = (level, base) => number(`source.${level}`, `Share ${level}`, { step: 0.05, base, min: 0, level });

const TITLES = {
  pipeline: "Pipeline: data, training, report",
  synthesis: "Synthesis: strong data",
  pairing: "Pairing: strong data, then weak data",
  sft: "SFT on the data of a job",
  dpo: "DPO on the pairs of a job",
  deployment: "Deployment of a model",
  evaluation: "Evaluation of models",
};

/** Kinds of job with their titles. */
export const kindsOf = (schemas) => Object.keys(schemas.specs).map((kind) => [kind, TITLES[kind] ?? words(kind)]);

export const SECTIONS = [
  {
    title: "Training data",
    open: true,
    kinds: LEARN,
    fields: [
      number("source.synthesis", "Examples to write", { hint: "0 for none", min: 0 }),
      number("source.per_shard", "Examples a shard", { base: "20", min: 1 }),
      text("source.dataset", "Dataset to add", { hint: "NAME or NAME@VERSION", list: "datasets" }),
      share("easy", "0.5"),
      share("medium", "0.35"),
      share("hard", "0.15"),
    ],
  },
  {
    title: "Strong model",
    open: true,
    about: "Without an endpoint the offline grammar writer writes.",
    kinds: LEARN,
    fields: [
      text("strong.endpoint", "Endpoint profile"),
      text("strong.model", "Model"),
      number("strong.temperature", "Temperature", { step: 0.1 }),
      number("strong.budget_usd", "Budget, US dollars", { step: 0.5 }),
    ],
  },
  {
    title: "Weak model",
    about: "Without an endpoint the student after SFT is sampled.",
    kinds: ["pipeline", "pairing"],
    fields: [
      text("weak.endpoint", "Endpoint profile"),
      text("weak.model", "Model"),
      number("weak.samples", "Samples a question"),
      number("weak.temperature", "Temperature", { step: 0.1 }),
      number("weak.questions", "Questions to sample", { base: "all" }),
      number("weak.max_tokens", "Tokens an answer"),
    ],
  },
  {
    title: "Pairs",
    kinds: ["pipeline", "pairing"],
    fields: [
      text("pairs.policy", "Policy"),
      number("pairs.minimum", "Fewest pairs for DPO"),
      number("pairs.limit", "Most pairs"),
    ],
  },
  {
    title: "Data and model",
    open: true,
    kinds: ["sft", "dpo"],
    fields: [
      text("data", "Data of a job", { hint: "job:ID", required: true }),
      text("parent", "SFT model to continue", { kinds: ["dpo"], required: true }),
    ],
  },
  {
    title: "Student",
    open: true,
    kinds: ["pipeline", "pairing", "sft", "dpo", "deployment", "evaluation"],
    fields: [
      text("student.base", "Base"),
      text("student.method", "Method", { kinds: ["pipeline", "pairing", "sft", "dpo"] }),
      text("model", "Model to serve", { kinds: ["deployment"], required: true }),
    ],
  },
  {
    title: "SFT",
    kinds: ["pipeline", "pairing", "sft"],
    fields: [
      text("sft.preset", "Preset"),
      number("sft.max_steps", "Most steps"),
      number("sft.epochs", "Epochs", { step: 0.5 }),
      number("sft.learning_rate", "Learning rate", { step: "any" }),
    ],
  },
  {
    title: "DPO",
    kinds: ["pipeline", "dpo"],
    fields: [
      text("dpo.preset", "Preset"),
      number("dpo.max_steps", "Most steps"),
      number("dpo.beta", "Beta", { step: "any" }),
      number("dpo.learning_rate", "Learning rate", { step: "any" }),
    ],
  },
  {
    title: "Evaluation",
    open: true,
    kinds: ["pipeline", "evaluation"],
    fields: [
      text("models", "Models", {
        kinds: ["evaluation"],
        hint: "names, with commas between",
        many: true,
        required: true,
      }),
      text("tests", "Test sets", {
        hint: "with commas between; default: the built-in sets",
        list: "datasets",
      }),
      number("test_questions", "Questions of each", { min: 1 }),
    ],
  },
  {
    title: "For all",
    fields: [
      number("seed", "Seed"),
      number("prompt.sample_rows", "Example rows in prompts"),
      number("lost_allowed", "Shards a stage may lose"),
    ],
  },
];

const fits = (part, kind) => !part.kinds || part.kinds.includes(kind);

/** The sections and fields of a kind. */
export const sectionsOf = (kind) =>
  SECTIONS.filter((one) => fits(one, kind)).map((one) => ({
    ...one,
    fields: one.fields.filter((field) => fits(field, kind)),
  }));

/** A field with what the gateway says of it: `options` where there is a choice, its default and its bounds. */
export function describe(field, kind, schemas) {
  const source = field.path.startsWith("source.");
  const node = source
    ? schemas.property("SynthesisSource", field.path.slice("source.".length))
    : schemas.property(schemas.specs[kind], field.path);
  if (!node) return field;
  const base = ["string", "number"].includes(typeof node.default) ? String(node.default) : undefined;
  return { base, min: node.minimum, max: node.maximum, ...field, options: node.enum };
}

function put(data, path, value) {
  const names = path.split(".");
  const last = names.pop();
  names.reduce((part, name) => (part[name] ??= {}), data)[last] = value;
}

const names = (value) =>
  String(value ?? "")
    .split(",")
    .map((one) => one.trim())
    .filter(Boolean);

/** A spec with what was filled in and nothing else: the gateway knows the defaults. */
export function toSpec(kind, values, testSets = []) {
  const spec = { kind, name: values.name || "my-job" };
  const fields = sectionsOf(kind)
    .flatMap((one) => one.fields)
    .filter((field) => !/^(source\.|models$|tests$|test_questions$)/.test(field.path));
  const sources = LEARN.includes(kind) ? sourcesOf(values) : null;
  if (sources) put(spec, "train.sft", sources);
  for (const field of fields) {
    const value = values[field.path];
    if (value !== undefined && value !== "") put(spec, field.path, "type" in field && field.type === "number" ? Number(value) : value);
  }
  if (kind === "evaluation" && names(values.models).length) spec.models = names(values.models);
  const tests = testsOf(values, testSets);
  if (["pipeline", "evaluation"].includes(kind) && tests) spec.evaluate = tests;
  return spec;
}

function sourcesOf(values) {
  const given = (name) => values[`source.${name}`] !== undefined && values[`source.${name}`] !== "";
  const levels = Object.fromEntries(
    SECTIONS.flatMap((one) => one.fields.flatMap((field) => ("level" in field ? [field.level] : [])))
      .filter(given)
      .map((level) => [level, Number(values[`source.${level}`])]),
  );
  const written = {
    ...(given("synthesis") ? { synthesis: Number(values["source.synthesis"]) } : {}),
    ...(given("per_shard") ? { per_shard: Number(values["source.per_shard"]) } : {}),
    ...(Object.keys(levels).length ? { levels } : {}),
  };
  const writes = written.synthesis !== 0 && (Object.keys(written).length > 0 || !given("dataset"));
  const sources = [...(writes ? [written] : []), ...(given("dataset") ? [{ dataset: values["source.dataset"] }] : [])];
  return Object.keys(sources[0] ?? {}).length ? sources : null;
}

function testsOf(values, testSets) {
  const questions = values.test_questions ? { questions: Number(values.test_questions) } : {};
  const wanted = names(values.tests);
  if (!wanted.length && !values.test_questions) return null;
  return (wanted.length ? wanted : testSets).map((dataset) => ({
    dataset,
    ...questions,
  }));
}

const read = (data, path) => path.split(".").reduce((part, name) => part?.[name], data);

/** What of a spec the form can show; `whole` is False where it holds more than the form has fields for. */
export function fromSpec(spec) {
  const values = { name: spec.name ?? "" };
  for (const field of sectionsOf(spec.kind).flatMap((one) => one.fields)) {
    const value = read(spec, field.path);
    if (["string", "number"].includes(typeof value)) values[field.path] = String(value);
  }
  for (const source of spec.train?.sft ?? []) {
    if (source.dataset) values["source.dataset"] = source.dataset;
    else
      for (const [name, value] of Object.entries({ ...source, ...source.levels }))
        if (typeof value === "number") values[`source.${name}`] = String(value);
  }
  if (Array.isArray(spec.models)) values.models = spec.models.filter((one) => typeof one === "string").join(", ");
  if (Array.isArray(spec.evaluate)) {
    values.tests = spec.evaluate.map((one) => one.dataset).join(", ");
    if (spec.evaluate[0]?.questions) values.test_questions = String(spec.evaluate[0].questions);
  }
  return values;
}

/** The field that a fault's path speaks of. */
export function fieldOf(path, kind) {
  const source = path.match(/^train\.sft\.\d+\.(?:levels\.)?(\w+)$/);
  const meant = source
    ? `source.${source[1]}`
    : /^models\b/.test(path)
      ? "models"
      : /^evaluate\.\d+\.questions/.test(path)
        ? "test_questions"
        : /^evaluate\b/.test(path)
          ? "tests"
          : path;
  return (
    sectionsOf(kind)
      .flatMap((one) => one.fields)
      .find((field) => field.path === meant || field.path.startsWith(`${meant}.`))?.path ??
    (meant === "name" ? "name" : null)
  );
}
