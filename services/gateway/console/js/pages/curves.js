// Training curves, live while a run is on.

import { follow, get } from "../api.js";
import { lineChart } from "../chart.js";
import { h, replace } from "../dom.js";
import { count, duration } from "../format.js";
import { chip, empty, jobHead } from "../parts.js";

const POINTS = 1000;
const DRAW_MS = 1000;
const TERMINAL = ["succeeded", "failed", "cancelled"];

export default async function curves(context) {
  const [id] = context.params;
  const [job, plan] = await Promise.all([
    get(`/v1/jobs/${id}`, {}, context.signal),
    get(`/v1/jobs/${id}/plan`, {}, context.signal),
  ]);
  context.title(`Training of ${job.name}`);
  const runs = plan.stages.filter((stage) => stage.task === "training.train_model").map((stage) => new Run(stage, job));
  await Promise.all(runs.map((one) => one.load(context.signal)));
  context.show(
    jobHead(job, "curves"),
    runs.length
      ? runs.map((one) => one.node)
      : empty("This job trains nothing.", "Jobs of kind sft, dpo, pairing and pipeline do."),
  );
  if (!TERMINAL.includes(job.status) && runs.length) watch(context, job, runs);
}

function watch(context, job, runs) {
  const byStage = new Map(runs.map((one) => [one.stage.id, one]));
  const from = String(Math.max(0, Math.floor((job.started_at ?? 0) * 1000)));
  follow(job.id, from, context.signal, (event) => {
    if (event.type === "progress" && "step" in event.data) byStage.get(event.stage)?.add(event.data);
    else if (event.name === "model.trained") byStage.get(event.stage)?.finish();
  });
}

class Run {
  constructor(stage, job) {
    this.stage = stage;
    this.job = job;
    this.steps = new Map();
    this.node = h("section", { class: "card", "data-run": stage.id });
  }

  /** Long runs are thinned by the server: a screen has no room for more points. */
  async load(signal) {
    const path = `/v1/jobs/${this.job.id}/metrics-lines`;
    const first = await get(path, { stage: this.stage.id, limit: 1 }, signal);
    const every = Math.max(1, Math.ceil((first.data[0]?.total_steps ?? 1) / POINTS));
    this.live = first.live;
    for (let after = null, more = first.data.length > 0; more;) {
      const page = await get(path, { stage: this.stage.id, every, after, limit: 2000 }, signal);
      page.data.forEach((line) => this.steps.set(line.step, line));
      [after, more] = [page.last_id, page.has_more];
    }
    this.draw();
  }

  add(line) {
    this.live = true;
    this.steps.set(line.step, line);
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.draw();
    }, DRAW_MS);
  }

  finish() {
    this.live = false;
    this.draw();
  }

  draw() {
    const lines = [...this.steps.values()].sort((a, b) => a.step - b.step);
    const last = lines.at(-1);
    const series = (name) => ({
      name,
      points: lines.filter((line) => Number.isFinite(line[name])).map((line) => [line.step, line[name]]),
    });
    const status = this.job.stages.find((one) => one.id === this.stage.id)?.status;
    const scored = lines.some((line) => "execution_accuracy" in line);
    const preference = lines.some((line) => "margin" in line);
    replace(
      this.node,
      h(
        "div",
        { class: "row apart" },
        h("h2", {}, this.stage.id, " ", this.stage.model && h("code", { class: "muted small" }, this.stage.model)),
        this.live && last ? chip("running") : status && chip(status),
      ),
      last
        ? h(
            "p",
            { class: "muted" },
            `Step ${count(last.step)} of ${count(last.total_steps)} · loss ${last.loss.toFixed(4)} · ${count(last.tokens)} tokens · ${duration(last.seconds)}${this.live && last.step < last.total_steps ? ` · about ${duration((last.seconds / last.step) * (last.total_steps - last.step))} left` : ""}`,
          )
        : h("p", { class: "muted" }, status === "skipped" ? "Skipped: there were too few pairs." : "Not begun."),
      last &&
        h(
          "div",
          { class: "two" },
          lineChart("Loss", [series("loss")]),
          preference
            ? lineChart("Reward margin and accuracy", [series("margin"), series("accuracy")])
            : lineChart("Learning rate", [series("lr")]),
          scored && lineChart("Execution accuracy on the selection split", [series("execution_accuracy")]),
        ),
    );
  }
}
