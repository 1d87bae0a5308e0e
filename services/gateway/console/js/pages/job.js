// One job: its pipeline live, what it has cost, and what was lost and why.

import { follow, get, post } from "../api.js";
import { announce, h, replace } from "../dom.js";
import { ago, count, dollars, duration, plural, when } from "../format.js";
import { chip, fault, jobHead, pager } from "../parts.js";
import { pipeline } from "../pipeline.js";

const TERMINAL = ["succeeded", "failed", "cancelled"];
const LOOK_MS = 900;
const TICK_MS = 5000;

export default async function job(context) {
  await new JobPage(context).open();
}

/** An event id before everything that is not in this job's numbers yet; ids are the server's milliseconds. */
function knownUntil(job) {
  const times = job.stages.flatMap((stage) => [stage.started_at ?? 0, stage.finished_at ?? 0]);
  return String(Math.max(0, Math.floor(Math.max(job.started_at ?? 0, ...times) * 1000) - 1000));
}

class JobPage {
  constructor(context) {
    this.context = context;
    this.id = context.params[0];
    this.live = new Map();
    this.parts = {
      head: h("div", { class: "stack loose" }),
      facts: h("section", { class: "card", "aria-label": "Numbers" }),
      notes: h("div", { class: "stack" }),
      flow: h("section", { "aria-label": "Stages" }),
      lost: h("section"),
    };
  }

  async open() {
    const signal = this.context.signal;
    [this.job, this.plan] = await Promise.all([
      get(`/v1/jobs/${this.id}`, {}, signal),
      get(`/v1/jobs/${this.id}/plan`, {}, signal),
    ]);
    this.context.title(this.job.name);
    this.draw();
    await this.drawLost();
    this.context.show(this.parts.head, this.parts.notes, this.parts.facts, this.parts.flow, this.parts.lost);
    if (!TERMINAL.includes(this.job.status)) this.watch();
  }

  watch() {
    const { signal } = this.context;
    follow(
      this.id,
      knownUntil(this.job),
      signal,
      (event) => this.hear(event),
      (lost) => this.connection(lost),
    );
    const timer = setInterval(() => this.draw(), TICK_MS);
    signal.addEventListener("abort", () => clearInterval(timer));
  }

  hear(event) {
    if (event.type === "progress") {
      this.live.set(event.stage, event.data);
      this.soon(false);
    } else this.soon(true);
  }

  /** Many events come at once: one look serves them all. */
  soon(look) {
    this.wanted ||= look;
    this.timer ??= setTimeout(async () => {
      const wanted = this.wanted;
      this.timer = undefined;
      this.wanted = false;
      if (wanted) await this.look();
      this.draw();
    }, LOOK_MS);
  }

  async look() {
    const before = this.job;
    try {
      this.job = await get(`/v1/jobs/${this.id}`, {}, this.context.signal);
      if (!this.plan.stages.length) this.plan = await get(`/v1/jobs/${this.id}/plan`, {}, this.context.signal);
    } catch {
      return;
    }
    const { done, total } = this.job.progress;
    this.say(before.status, done, total);
    if (this.job.progress.failed !== before.progress.failed || TERMINAL.includes(this.job.status))
      await this.drawLost();
  }

  connection(lost) {
    this.lostContact = lost;
    this.draw();
  }

  draw() {
    if (this.context.signal.aborted) return;
    const job = this.job;
    this.drawHead();
    replace(
      this.parts.notes,
      this.lostContact &&
        h(
          "p",
          { class: "notice warn", role: "status" },
          "The connection is lost; trying again. What is shown may be old.",
        ),
      job.error &&
        h(
          "div",
          { class: "notice bad", role: "alert" },
          h("p", {}, h("strong", {}, job.error.code), " ", job.error.message),
        ),
      job.archived && h("p", { class: "notice" }, "Read from the archive: progress was not kept."),
    );
    replace(this.parts.facts, this.facts());
    replace(
      this.parts.flow,
      job.stages.length ? pipeline(job, this.plan, this.live) : h("p", { class: "empty" }, "The plan is being made."),
    );
  }

  /** The head is drawn anew only where it has changed: what is focused there keeps the focus. */
  drawHead() {
    const { status, name, artifacts } = this.job;
    const shown = JSON.stringify([status, name, artifacts.some((one) => one.name === "report.json")]);
    if (shown === this.headShown) return;
    this.headShown = shown;
    const focused = this.parts.head.contains(document.activeElement);
    replace(this.parts.head, jobHead(this.job, "", this.actions()));
    if (focused) this.parts.head.querySelector("h1").focus({ preventScroll: true });
  }

  /** Who listens hears every tenth of the work, and how it ended. */
  say(before, done, total) {
    const tenth = total ? Math.floor((10 * done) / total) : 0;
    if (this.job.status !== before) announce(`The job is ${this.job.status}`);
    else if (tenth !== this.tenth) announce(`${done} of ${total} shards done`);
    this.tenth = tenth;
  }

  actions() {
    const act = (path, word) => async (event) => {
      event.target.disabled = true;
      try {
        this.job = await post(`/v1/jobs/${this.id}/${path}`);
        announce(word);
        this.draw();
        if (path === "retry") this.watch();
      } catch (error) {
        replace(this.parts.notes, fault(error));
      }
    };
    const report = this.job.artifacts.some((one) => one.name === "report.json");
    return [
      report && h("a", { class: "button primary", href: `#/reports/${this.id}` }, "Open the report"),
      !TERMINAL.includes(this.job.status) &&
        h("button", { type: "button", class: "danger", onclick: act("cancel", "Cancelling") }, "Cancel"),
      ["failed", "cancelled"].includes(this.job.status) &&
        !this.job.archived &&
        h(
          "button",
          { type: "button", class: "primary", onclick: act("retry", "Running again") },
          "Retry what was lost",
        ),
    ];
  }

  facts() {
    const { job } = this;
    const sum = (name) => job.stages.reduce((total, stage) => total + (stage.counts[name] ?? 0), 0);
    const seconds = job.started_at ? (job.finished_at ?? Date.now() / 1000) - job.started_at : null;
    const { done, total, failed } = job.progress;
    const budget = [job.spec.strong?.budget_usd, job.spec.weak?.budget_usd].filter(Boolean).reduce((a, b) => a + b, 0);
    const accepted = job.stages
      .filter((stage) => /^(verify|load)\.train/.test(stage.id))
      .reduce((n, stage) => n + (stage.counts.accepted ?? stage.counts.examples ?? 0), 0);
    const facts = [
      ["Shards", `${count(done)} / ${count(total)}`],
      ["Lost", count(failed)],
      ["Time", duration(seconds)],
      ["Cost so far", dollars(sum("micro_usd")) + (budget ? ` of $${budget}` : "")],
      ["Tokens", count(sum("prompt_tokens") + sum("completion_tokens"))],
      accepted > 0 && ["Accepted", count(accepted)],
      sum("pairs") > 0 && [
        "Pairs",
        count(
          job.stages.find((stage) => stage.counts.pairs && stage.id.startsWith("collect"))?.counts.pairs ??
            sum("pairs"),
        ),
      ],
      ["Started", job.started_at ? h("span", { title: when(job.started_at) }, ago(job.started_at)) : "–"],
    ];
    return h(
      "dl",
      { class: "facts" },
      facts.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    );
  }

  async drawLost() {
    if (!this.job.progress.failed) return replace(this.parts.lost);
    const page = await get(
      `/v1/jobs/${this.id}/shards`,
      { state: "failed", limit: 50, after: this.context.query.get("after") },
      this.context.signal,
    );
    replace(
      this.parts.lost,
      h(
        "div",
        { class: "card" },
        h("h2", {}, plural(this.job.progress.failed, "lost shard")),
        h(
          "div",
          { class: "scroll", tabindex: "0", role: "region", "aria-label": "Lost shards" },
          h(
            "table",
            {},
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                ["Stage", "Shard", "Attempts", "Why"].map((name) => h("th", { scope: "col" }, name)),
              ),
            ),
            h(
              "tbody",
              {},
              page.data.map((row) =>
                h(
                  "tr",
                  {},
                  h("td", {}, row.stage),
                  h("td", {}, row.shard),
                  h("td", {}, row.attempt),
                  h("td", {}, row.error ? [chip(row.error.code, "bad"), " ", row.error.message] : "not said"),
                ),
              ),
            ),
          ),
        ),
        pager(this.context, page, "lost shards"),
      ),
    );
  }
}
