// A new job: a form that writes YAML, a YAML text that fills the form, and the gateway's word on both.

import { get, post } from "../api.js";
import { announce, h, replace } from "../dom.js";
import { describe, fieldOf, fromSpec, kindsOf, sectionsOf, toSpec } from "../fields.js";
import { fault, field, head } from "../parts.js";
import { schemas } from "../schema.js";
import { toYaml } from "../yaml.js";

const PAUSE_MS = 500;

export default async function submit(context) {
  const page = new Compose(context, await schemas());
  await page.open();
}

class Compose {
  constructor(context, schemas) {
    this.context = context;
    this.schemas = schemas;
    this.values = { name: "my-first-model" };
    this.kind = context.query.get("kind") ?? "pipeline";
    this.kindSelect = h(
      "select",
      {
        name: "kind",
        onchange: () => {
          this.kind = this.kindSelect.value;
          this.drawFields();
          this.write();
        },
      },
      kindsOf(schemas).map(([value, text]) => h("option", { value, selected: value === this.kind }, text)),
    );
    this.yaml = h("textarea", {
      class: "code",
      name: "yaml",
      spellcheck: "false",
      "aria-describedby": "yaml-hint",
      oninput: () => this.typed(),
    });
    this.told = h("div", { "aria-live": "polite" });
    this.fieldsNode = h("div", {});
    this.button = h("button", { type: "submit", class: "primary" }, "Submit the job");
  }

  async open() {
    const { context } = this;
    context.title("New job");
    const sets = await get("/v1/datasets", { limit: 100 }, context.signal).catch((error) => {
      if (error.status === 401 || error.name === "AbortError") throw error;
      return { data: [] };
    });
    const list = h(
      "datalist",
      { id: "datasets" },
      [...this.schemas.testSets, ...sets.data.map((one) => one.name)].map((value) =>
        h("option", { value }),
      ),
    );
    const form = h(
      "form",
      {
        class: "compose",
        novalidate: true,
        onsubmit: (event) => {
          event.preventDefault();
          this.send();
        },
      },
      h(
        "div",
        {},
        h(
          "div",
          { class: "part" },
          h(
            "div",
            { class: "fields" },
            field("Kind", this.kindSelect),
            this.input({ path: "name", label: "Name", type: "text" }),
          ),
        ),
        this.fieldsNode,
      ),
      h(
        "div",
        { class: "sticky stack" },
        field("Spec, as YAML", this.yaml),
        h(
          "p",
          { class: "muted small", id: "yaml-hint" },
          "The form writes this text. Edit it freely: the form follows. Using the form again writes the text anew, without comments and without what it has no field for.",
        ),
        this.told,
        h("div", { class: "row" }, this.button),
      ),
      list,
    );
    context.show(head("New job"), form);
    this.drawFields();
    const draft = context.query.get("draft") && sessionStorage.getItem("sense-draft");
    if (draft) {
      this.yaml.value = draft;
      this.check();
    } else this.write();
  }

  input(given) {
    const one = describe(given, this.kind, this.schemas);
    const props = {
      name: one.path,
      type: one.type,
      list: one.list,
      step: one.step,
      min: one.min,
      max: one.max,
      placeholder: one.base,
      autocomplete: "off",
      required: one.required,
      value: this.values[one.path] ?? "",
      "data-path": one.path,
    };
    const node = one.options
      ? h(
          "select",
          { name: one.path, "data-path": one.path },
          h("option", { value: "" }, one.base ? `${one.base} (default)` : "default"),
          one.options.map((value) => h("option", { value, selected: this.values[one.path] === value }, value)),
        )
      : h("input", props);
    node.addEventListener("input", () => {
      this.values[one.path] = node.value;
      this.write();
    });
    return field(one.label, node, one.hint);
  }

  drawFields() {
    replace(
      this.fieldsNode,
      sectionsOf(this.kind).map((section) =>
        h(
          "details",
          { class: "part", open: section.open || section.fields.some((one) => this.values[one.path]) },
          h("summary", {}, section.title, section.about && h("span", { class: "muted" }, section.about)),
          h(
            "div",
            { class: "fields" },
            section.fields.map((one) => this.input(one)),
          ),
        ),
      ),
    );
  }

  /** From the form to the text. */
  write() {
    this.yaml.value = toYaml(toSpec(this.kind, this.values, this.schemas.testSets));
    this.soon(false);
  }

  /** From the text to the form, once the gateway has read it. */
  typed() {
    this.soon(true);
  }

  soon(fill) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(fill), PAUSE_MS);
    this.context.signal.addEventListener("abort", () => clearTimeout(this.timer), { once: true });
  }

  async check(fill = true) {
    const asked = this.yaml.value;
    try {
      const found = await post("/v1/specs/check", asked, { type: "application/yaml", signal: this.context.signal });
      if (asked !== this.yaml.value) return;
      this.mark([]);
      replace(this.told, h("p", { class: "notice" }, "The gateway takes this spec."));
      if (fill) this.fill(found.given);
    } catch (error) {
      if (error.name !== "AbortError" && asked === this.yaml.value) this.refuse(error);
    }
  }

  fill(given) {
    this.kind = given.kind;
    this.kindSelect.value = given.kind;
    this.values = fromSpec(given);
    this.drawFields();
    const name = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-path=name]"));
    if (name) name.value = this.values.name;
  }

  refuse(error) {
    replace(this.told, fault(error));
    this.mark(error.faults ?? []);
  }

  /** Faults stand at their fields too. */
  mark(faults) {
    for (const node of document.querySelectorAll("[data-path]")) {
      node.removeAttribute("aria-invalid");
      node.closest(".field").querySelector(".fault")?.remove();
    }
    for (const one of faults) {
      const path = fieldOf(one.path, this.kind);
      const node = path && document.querySelector(`[data-path="${CSS.escape(path)}"]`);
      if (!node) continue;
      node.setAttribute("aria-invalid", "true");
      if (node.closest("details")) node.closest("details").open = true;
      node.closest(".field").append(h("small", { class: "fault" }, one.message));
    }
  }

  async send() {
    this.button.disabled = true;
    clearTimeout(this.timer);
    try {
      const job = await post("/v1/jobs", this.yaml.value, {
        type: "application/yaml",
        more: { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) },
      });
      announce("The job is submitted");
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      this.refuse(error);
      /** @type {HTMLElement | null} */ (document.querySelector("[aria-invalid=true]"))?.focus();
    } finally {
      this.button.disabled = false;
    }
  }
}
