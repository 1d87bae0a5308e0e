// Writes plain data as YAML that the gateway reads back as the same data.

const PLAIN = /^[A-Za-z_][\w ./@-]*$/;
const TAKEN = /^(true|false|yes|no|on|off|null|y|n|~)$/i;

function scalar(value) {
  if (typeof value !== "string") return value === null ? "null" : String(value);
  return PLAIN.test(value) && !TAKEN.test(value) && value === value.trim() ? value : JSON.stringify(value);
}

const empty = (value) => (Array.isArray(value) ? !value.length : !Object.keys(value).length);

/** Block style; lists and mappings of scalars alone go on one line where they are short. */
export function toYaml(data, indent = "") {
  return Object.entries(data)
    .map(([name, value]) => {
      if (value === null || typeof value !== "object") return `${indent}${name}: ${scalar(value)}\n`;
      if (empty(value)) return `${indent}${name}: ${Array.isArray(value) ? "[]" : "{}"}\n`;
      const line = flow(value);
      if (indent && line.length < 70) return `${indent}${name}: ${line}\n`;
      if (!Array.isArray(value)) return `${indent}${name}:\n${toYaml(value, `${indent}  `)}`;
      return `${indent}${name}:\n${value.map((one) => `${indent}  - ${flow(one)}\n`).join("")}`;
    })
    .join("");
}

function flow(value) {
  if (value === null || typeof value !== "object") return scalar(value);
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  return `{${Object.entries(value)
    .map(([name, one]) => `${name}: ${flow(one)}`)
    .join(", ")}}`;
}
