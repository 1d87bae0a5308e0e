// The fields of the submit form: where each stands in a spec, for which kinds, and what the gateway takes without it.

const LEARN = ["pipeline", "pairing", "synthesis"];
const number = (path, label, more = {}) => ({ path, label, type: "number", ...more });
const text = (path, label, more = {}) => ({ path, label, type: "text", ...more });
const choice = (path, label, options, more = {}) => ({ path, label, options, ...more });
const PRESETS = ["cpu-demo", "cpu-smoke", "paper-lora"];
const POLICIES = ["one_per_question", "nearest", "farthest", "hardest", "all_capped", "gold_chosen"];

export const KINDS = [
  ["pipeline", "Pipeline: data, training, report"],
  ["synthesis", "Synthesis: strong data"],
  ["pairing", "Pairing: strong data, then weak data"],
  ["sft", "SFT on the data of a job"],
  ["dpo", "DPO on the pairs of a job"],
  ["deployment", "Deployment of a model"],
  ["evaluation", "Evaluation of models"],
];

export const SECTIONS = [
  {
    title: "Training data",
    open: true,
    kinds: LEARN,
    fields: [
      number("source.synthesis", "Examples to write", { base: "320", hint: "0 for none", min: 0 }),
      number("source.per_shard", "Examples a shard", { base: "20", min: 1 }),
      text("source.dataset", "Data set to add", { hint: "NAME or NAME@VERSION", list: "datasets" }),
      number("source.easy", "Share easy", { step: 0.05, base: "0.5", min: 0 }),
      number("source.medium", "Share medium", { step: 0.05, base: "0.35", min: 0 }),
      number("source.hard", "Share hard", { step: 0.05, base: "0.15", min: 0 }),
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
      number("strong.temperature", "Temperature", { step: 0.1, base: "0.9" }),
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
      number("weak.samples", "Samples a question", { base: "8", min: 2 }),
      number("weak.temperature", "Temperature", { step: 0.1, base: "1.0" }),
      number("weak.questions", "Questions to sample", { base: "all", min: 1 }),
      number("weak.max_tokens", "Tokens an answer", { base: "128" }),
    ],
  },
  {
    title: "Pairs",
    kinds: ["pipeline", "pairing"],
    fields: [
      choice("pairs.policy", "Policy", POLICIES, { base: "one_per_question" }),
      number("pairs.minimum", "Fewest pairs for DPO", { base: "8", min: 1 }),
      number("pairs.limit", "Most pairs", { min: 1 }),
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
      text("student.base", "Base", { base: "builtin:smollm2-135m" }),
      choice("student.method", "Method", ["lora", "full"], {
        base: "lora",
        kinds: ["pipeline", "pairing", "sft", "dpo"],
      }),
      text("model", "Model to serve", { kinds: ["deployment"], required: true }),
    ],
  },
  {
    title: "SFT",
    kinds: ["pipeline", "pairing", "sft"],
    fields: [
      choice("sft.preset", "Preset", PRESETS, { base: "cpu-demo" }),
      number("sft.max_steps", "Most steps", { min: 1 }),
      number("sft.epochs", "Epochs", { step: 0.5 }),
      number("sft.learning_rate", "Learning rate", { step: "any" }),
    ],
  },
  {
    title: "DPO",
    kinds: ["pipeline", "dpo"],
    fields: [
      choice("dpo.preset", "Preset", PRESETS, { base: "cpu-demo" }),
      number("dpo.max_steps", "Most steps", { min: 1 }),
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
        base: "builtin:held-out, builtin:handwritten",
        hint: "with commas between",
        list: "datasets",
      }),
      number("test_questions", "Questions of each", { min: 1 }),
    ],
  },
  {
    title: "For all",
    fields: [
      number("seed", "Seed", { base: "7", min: 0 }),
      number("prompt.rows", "Example rows in prompts", { base: "3", min: 0, max: 5 }),
      number("lost_allowed", "Shards a stage may lose", { base: "0", min: 0 }),
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
export function toSpec(kind, values) {
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
  const tests = testsOf(values);
  if (["pipeline", "evaluation"].includes(kind) && tests) spec.evaluate = tests;
  return spec;
}

function sourcesOf(values) {
  const given = (name) => values[`source.${name}`] !== undefined && values[`source.${name}`] !== "";
  const levels = Object.fromEntries(
    ["easy", "medium", "hard"].filter(given).map((name) => [name, Number(values[`source.${name}`])]),
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

function testsOf(values) {
  const questions = values.test_questions ? { questions: Number(values.test_questions) } : {};
  const wanted = names(values.tests);
  if (!wanted.length && !values.test_questions) return null;
  return (wanted.length ? wanted : ["builtin:held-out", "builtin:handwritten"]).map((dataset) => ({
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
