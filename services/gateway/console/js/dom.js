// Elements without markup: text is only ever text, whatever a model or a user wrote.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  put(node, children);
  return node;
}

/** Appends nodes, texts and numbers; nested lists are flattened, nothing is left out but null, undefined and false. */
export function put(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** An HTML element: h("p", {class: "muted"}, "text"). `props` may be left out. */
export function h(tag, props, ...children) {
  const plain = props && typeof props === "object" && !(props instanceof Node) && !Array.isArray(props);
  return plain
    ? fill(document.createElement(tag), props, children)
    : fill(document.createElement(tag), {}, [props, children]);
}

/** An SVG element. */
export function s(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** Takes everything out and puts these in. */
export function replace(node, ...children) {
  node.replaceChildren();
  return put(node, children);
}

let queued = "";

/** Tells people who do not see the page what has changed; at most one sentence a second, the last one. */
export function announce(text) {
  if (!queued)
    setTimeout(() => {
      document.getElementById("live").textContent = queued;
      queued = "";
    }, 1000);
  queued = text;
}
