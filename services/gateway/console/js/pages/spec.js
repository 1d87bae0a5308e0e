// The spec that a job was submitted with, whole.

import { get } from "../api.js";
import { h } from "../dom.js";
import { jobHead } from "../parts.js";
import { toYaml } from "../yaml.js";

export default async function spec(context) {
  const job = await get(`/v1/jobs/${context.params[0]}`, {}, context.signal);
  context.title(`Spec of ${job.name}`);
  const { kind, name, ...rest } = job.spec;
  const yaml = toYaml({ kind, name, ...rest });
  const again = () => {
    sessionStorage.setItem("sense-draft", yaml);
    location.hash = "#/new?draft=1";
  };
  context.show(
    jobHead(job, "spec", h("button", { type: "button", onclick: again }, "Use as a new job")),
    h("p", { class: "muted" }, "With every default written out."),
    h("pre", { class: "text", tabindex: "0" }, yaml),
  );
}
