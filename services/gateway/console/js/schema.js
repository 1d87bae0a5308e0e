// The gateway's description of its own objects: choices and defaults of forms and filters come from here.

import { description } from "./api.js";

const nameOf = (ref) => ref.split("/").pop();

export class Schemas {
  constructor(document) {
    this.all = document.components.schemas;
  }

  /** A schema without references at its top; of a value that may be null, the value's. */
  resolve(node) {
    if (node?.$ref) {
      const { $ref, ...more } = node;
      return { ...this.resolve(this.all[nameOf($ref)]), ...more };
    }
    const value = node?.anyOf?.find((one) => one.type !== "null");
    return value ? { ...this.resolve(value), ...node } : node;
  }

  /** A property of an object, by the object's name or schema; undefined where there is none. */
  property(object, path) {
    const start = typeof object === "string" ? this.all[object] : object;
    return path.split(".").reduce((node, name) => this.resolve(node?.properties?.[name]), this.resolve(start));
  }

  /** The values of an enumeration, or of a property that has one; none where anything may stand there. */
  choices(object, path) {
    return (path ? this.property(object, path) : this.all[object])?.enum ?? [];
  }

  /** The schemas of all kinds of spec, by kind. */
  get specs() {
    const schemas = this.all.Spec.oneOf.map((one) => this.resolve(one));
    return Object.fromEntries(schemas.map((one) => [one.properties.kind.const, one]));
  }

  /** Names of the built-in test sets. */
  get testSets() {
    return this.property("TestSet", "dataset").examples ?? [];
  }
}

/** Read once a page load. */
export async function schemas() {
  return new Schemas(await description());
}
