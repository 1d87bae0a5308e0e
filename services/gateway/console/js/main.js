// The frame: which page the address means, theme, key.

import { key } from "./api.js";
import { announce, h, replace } from "./dom.js";
import { fault, head } from "./parts.js";

/** @type {[RegExp, string, () => Promise<any>][]} */
const ROUTES = [
  [/^\/jobs$/, "jobs", () => import("./pages/jobs.js")],
  [/^\/jobs\/([\w-]+)$/, "jobs", () => import("./pages/job.js")],
  [/^\/jobs\/([\w-]+)\/examples$/, "jobs", () => import("./pages/examples.js")],
  [/^\/jobs\/([\w-]+)\/pairs$/, "jobs", () => import("./pages/pairs.js")],
  [/^\/jobs\/([\w-]+)\/answers$/, "jobs", () => import("./pages/answers.js")],
  [/^\/jobs\/([\w-]+)\/curves$/, "jobs", () => import("./pages/curves.js")],
  [/^\/jobs\/([\w-]+)\/files$/, "jobs", () => import("./pages/files.js")],
  [/^\/jobs\/([\w-]+)\/spec$/, "jobs", () => import("./pages/spec.js")],
  [/^\/new$/, "new", () => import("./pages/submit.js")],
  [/^\/reports$/, "reports", () => import("./pages/reports.js")],
  [/^\/reports\/compare$/, "reports", () => import("./pages/compare.js")],
  [/^\/reports\/([\w-]+)$/, "reports", () => import("./pages/report.js")],
  [/^\/ask$/, "ask", () => import("./pages/ask.js")],
  [/^\/databases$/, "databases", () => import("./pages/databases.js")],
  [/^\/databases\/([\w-]+)$/, "databases", () => import("./pages/database.js")],
  [/^\/datasets$/, "datasets", () => import("./pages/datasets.js")],
  [/^\/models$/, "models", () => import("./pages/models.js")],
];
const main = document.getElementById("main");
let leave = new AbortController();
let moved = false;

function place() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  return { path: path || "/jobs", query: new URLSearchParams(query) };
}

/** What a page is given: where it draws, what the address says, and a signal that it is left. */
function makeContext(path, query, params, signal) {
  const link = (changes) => {
    const next = new URLSearchParams(query);
    for (const [name, value] of Object.entries(changes))
      value === null || value === "" ? next.delete(name) : next.set(name, value);
    return `#${path}${next.size ? `?${next}` : ""}`;
  };
  return {
    params,
    query,
    signal,
    link,
    go: (changes) => {
      location.hash = link(changes);
    },
    title: (text) => {
      document.title = `${text} · Sense`;
    },
    show: (...nodes) => {
      if (!signal.aborted) replace(main, nodes);
    },
  };
}

async function route() {
  leave.abort();
  leave = new AbortController();
  const { path, query } = place();
  const found = ROUTES.find(([pattern]) => pattern.test(path));
  mark(found?.[1]);
  const context = makeContext(path, query, found ? path.match(found[0]).slice(1) : [], leave.signal);
  main.setAttribute("aria-busy", "true");
  try {
    if (!found) return nowhere(context, path);
    const page = await found[2]();
    if (!context.signal.aborted) await page.default(context);
  } catch (error) {
    if (context.signal.aborted || error.name === "AbortError") return;
    context.title("Not shown");
    context.show(
      head("This page cannot be shown"),
      fault(error),
      error.status === 401 &&
        h("p", {}, h("button", { type: "button", class: "primary", onclick: askKey }, "Enter an API key")),
    );
  } finally {
    if (!context.signal.aborted) arrive();
  }
}

function nowhere(context, path) {
  context.title("Not found");
  context.show(
    head("There is no such page"),
    h("p", {}, h("code", {}, path), " is not a page of the console. ", h("a", { href: "#/jobs" }, "Go to the jobs")),
  );
}

/** Readers of screens are led to the new page; the first one keeps the focus at the top. */
function arrive() {
  main.removeAttribute("aria-busy");
  // By hand: scrollIntoView would move the place from which the Tab key goes on.
  for (const link of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("nav [aria-current]"))) {
    const nav = link.closest("nav");
    nav.scrollLeft = link.offsetLeft - nav.offsetLeft - 40;
  }
  if (moved) {
    main.querySelector("h1")?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  if (moved) announce(document.title);
  moved = true;
}

function mark(name) {
  for (const link of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-page]"))) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

const THEMES = ["auto", "light", "dark"];
const themeButton = document.getElementById("theme");

function showTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  themeButton.textContent = now === "auto" ? "Auto" : now === "dark" ? "Dark" : "Light";
  themeButton.setAttribute("aria-label", `${themeButton.textContent} theme, change it`);
}

themeButton.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "auto";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  if (next === "auto") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("sense-theme");
  } else {
    document.documentElement.dataset.theme = next;
    localStorage.setItem("sense-theme", next);
  }
  showTheme();
  announce(`Theme: ${next}`);
});

const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("key-dialog"));
const keyInput = /** @type {HTMLInputElement} */ (document.getElementById("key-value"));
const keyButton = document.getElementById("key");

function askKey() {
  keyInput.value = key.get();
  dialog.returnValue = "";
  dialog.showModal();
}

function showKey() {
  keyButton.textContent = key.get() ? "API key set" : "API key";
}

keyButton.addEventListener("click", askKey);
dialog.addEventListener("close", () => {
  if (dialog.returnValue === "save") {
    key.set(keyInput.value.trim());
    route();
  }
  keyInput.value = "";
  showKey();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", route);
// Charts are drawn for the width that there is.
matchMedia("(max-width: 860px)").addEventListener("change", () => {
  if (main.querySelector("figure.chart")) {
    moved = false;
    route();
  }
});
showTheme();
showKey();
route();
