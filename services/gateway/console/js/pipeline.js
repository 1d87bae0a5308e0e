// A job's stages as phases: what belongs together, how far it is, how fast, and when it may be done.

import { h } from "./dom.js";
import { count, duration, plural, rate, words } from "./format.js";

const PHASES = [
  ["test", "Test sets", "Written first, so that no training export may hold their questions."],
  ["strong", "Strong data", "Questions and SQL, every one of them run in the sandbox."],
  ["sft", "Fine-tuning", "The student learns from the examples that hold."],
  ["weak", "Weak data", "A weak model's answers, judged and paired: right against wrong."],
  ["dpo", "Preference training", "The student learns from the pairs; its control from the chosen side alone."],
  ["serve", "Serving", "Models on the engine under their own names."],
  ["score", "Evaluation", "Every arm answers the test sets; the report says what is shown."],
];
const SAID = [
  "accepted",
  "written",
  "examples",
  "questions",
  "answers",
  "candidates",
  "correct",
  "wrong",
  "pairs",
  "rejected",
  "rejected_databases",
  "duplicates",
  "leaked",
  "steps",
  "rows",
  "unparsed",
];
const WORDS = {
  waiting: "waiting",
  queued: "queued",
  running: "running",
  done: "done",
  failed: "failed",
  cancelled: "cancelled",
  skipped: "skipped",
};
const MARKS = { done: "good", failed: "bad", running: "run", cancelled: "bad" };

/** Which phase a stage of the plan belongs to. */
export function phaseOf(stage) {
  const { id, task } = stage;
  if (task === "training.train_model") return ["dpo", "control"].includes(id) ? "dpo" : "sft";
  if (
    /^(answer|report)\b/.test(id) ||
    (task === "sandbox.judge_candidates" && /^judge\./.test(id) && !/sweep/.test(id))
  )
    return "score";
  if (/\.(test)$/.test(id) || (/^load\./.test(id) && !/^load\.(train|pairs)\d*$/.test(id))) return "test";
  if (/weak|^sample|^judge|^pair$|preferences|sweep|temperature|choose|\.pairs\d*$/.test(id)) return "weak";
  if (/^release/.test(id)) return "sft";
  if (/^serving\./.test(task)) return "serve";
  return "strong";
}

/** The pipeline; `live` are the newest progress records by stage. */
export function pipeline(job, plan, live) {
  const planned = new Map(plan.stages.map((stage) => [stage.id, stage]));
  const phases = PHASES.map(([id, title, about]) => ({
    title,
    about,
    stages: job.stages.filter((stage) => phaseOf(stage) === id),
  })).filter((phase) => phase.stages.length);
  return [
    h(
      "ol",
      { class: "steps card", "aria-label": "Pipeline" },
      phases.map((phase, n) => drawStep(phase, n)),
    ),
    h(
      "div",
      { class: "flow" },
      phases.map((phase) => drawPhase(phase, job, planned, live)),
    ),
  ];
}

/** A phase as a knot of the line: its number, or that it is done or broken. */
function drawStep(phase, n) {
  const over = phase.stages.filter((stage) => ["done", "skipped"].includes(stage.status)).length;
  const broken = phase.stages.some((stage) => stage.failed > 0 || stage.status === "failed");
  const begun = over > 0 || phase.stages.some((stage) => stage.status === "running");
  const state = broken ? "bad" : over === phase.stages.length ? "done" : begun ? "run" : "";
  const said = broken
    ? "shards lost"
    : state === "done"
      ? "done"
      : begun
        ? `${over} of ${plural(phase.stages.length, "stage")}`
        : "waiting";
  return h(
    "li",
    { class: state },
    h("span", { class: "knot", "aria-hidden": "true" }, broken ? "!" : state === "done" ? "✓" : n + 1),
    h("strong", {}, phase.title),
    h("span", { class: "muted" }, said),
  );
}

function drawPhase(phase, job, planned, live) {
  const done = phase.stages.filter((stage) => ["done", "skipped"].includes(stage.status)).length;
  const active = phase.stages.some((stage) => stage.status === "running");
  return h(
    "section",
    { class: `phase ${active ? "active" : ""}` },
    h(
      "header",
      {},
      h("h3", {}, phase.title),
      h("span", { class: "muted small" }, `${done} of ${plural(phase.stages.length, "stage")}`),
    ),
    h("p", { class: "muted small" }, phase.about),
    phase.stages.map((stage) => drawStage(stage, job, planned, live)),
  );
}

function drawStage(stage, job, planned, live) {
  const plan = planned.get(stage.id);
  const far = farness(stage, plan, job, live.get(stage.id));
  const total = stage.total || 1;
  const bar = [fillOf("done", far.share), stage.failed > 0 && fillOf("lost", stage.failed / total)];
  const facts = [
    stage.status === "done" && stage.done < 2 ? null : far.text,
    stage.failed > 0 && `${stage.failed} lost`,
    ...countsOf(stage),
    far.speed,
    far.left,
    stage.finished_at && stage.started_at && duration(stage.finished_at - stage.started_at),
    waitingFor(stage, plan, job),
  ];
  return h(
    "div",
    { class: `stage ${stage.status}`, "data-stage": stage.id },
    h(
      "div",
      { class: "top" },
      h("span", { class: "name" }, stage.id),
      h("span", { class: `mark ${MARKS[stage.status] ?? ""}` }, WORDS[stage.status]),
    ),
    !["waiting", "skipped", "done"].includes(stage.status) &&
      h("div", { class: "meter", role: "img", "aria-label": `${Math.round(far.share * 100)} % done` }, bar),
    h(
      "div",
      { class: "below" },
      facts.filter(Boolean).map((fact) => h("span", {}, fact)),
    ),
  );
}

function fillOf(kind, share) {
  const bar = h("div", { class: `bar-fill ${kind}` });
  bar.style.width = `${Math.min(100, share * 100)}%`;
  return bar;
}

/** How far a stage is: by the target it is fed for, by the steps of a training, else by its shards. */
function farness(stage, plan, job, told) {
  if (stage.status === "waiting" || stage.status === "skipped") return { share: 0 };
  const target = plan?.target;
  const fed = target && job.stages.find((one) => one.id === target.stage)?.counts[target.count];
  let done = stage.done,
    total = stage.total,
    unit = "shards";
  if (target && fed !== undefined && stage.status === "running")
    [done, total, unit] = [Math.min(fed, target.amount), target.amount, words(target.count)];
  else if (told?.total_steps && stage.status === "running")
    [done, total, unit] = [told.step, told.total_steps, "steps"];
  else if (told?.total && stage.total === 1 && stage.status === "running")
    [done, total, unit] = [told.done, told.total, "answers"];
  const seconds = stage.started_at ? (stage.finished_at ?? Date.now() / 1000) - stage.started_at : 0;
  const speed = done && seconds > 1 ? done / seconds : 0;
  const running = stage.status === "running";
  const known = running && speed && (stage.closed || target || unit === "steps");
  return {
    share: total ? done / total : 0,
    text: `${count(done)} / ${count(total)} ${unit}`,
    speed: running && rate(speed, unit),
    left: known && done < total && `about ${duration((total - done) / speed)} left`,
  };
}

function countsOf(stage) {
  return SAID.filter((name) => stage.counts[name])
    .slice(0, 3)
    .map((name) => `${count(stage.counts[name])} ${words(name)}`);
}

function waitingFor(stage, plan, job) {
  if (stage.status !== "waiting" || !plan || ["succeeded", "failed", "cancelled"].includes(job.status)) return null;
  const open = plan.upstream.filter(
    (name) => !["done", "skipped"].includes(job.stages.find((one) => one.id === name)?.status),
  );
  return open.length
    ? `after ${open.slice(0, 2).join(", ")}${open.length > 2 ? ` and ${open.length - 2} more` : ""}`
    : null;
}
