// The REST API: the key goes with every request, problems become errors, event streams resume where they broke.

const KEY = "sense-key";
const RECONNECT_MS = 1000;

export const key = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** What the gateway refused: `code`, `faults` with their paths, `status`. */
export class ApiError extends Error {
  constructor(problem, status) {
    super(problem.detail || `the gateway answered ${status} without saying why`);
    this.status = status;
    this.code = problem.code || "error";
    this.faults = problem.errors || [];
  }
}

function headers(more) {
  return { ...(key.get() ? { Authorization: `Bearer ${key.get()}` } : {}), ...more };
}

/** A path with a query; null, undefined and empty values are left out. */
export function address(path, query = {}) {
  const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return wanted.length ? `${path}?${new URLSearchParams(wanted)}` : path;
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ detail: "The gateway does not answer. Is the stack up?", code: "unreachable" }, 0);
  }
  if (answer.ok) return answer;
  throw new ApiError(await answer.json().catch(() => ({})), answer.status);
}

/** Reads JSON. */
export async function get(path, query, signal) {
  return (await ask(address(path, query), { headers: headers({ Accept: "application/json" }), signal })).json();
}

/**
 * Sends JSON, or text or a file of the given type, and reads JSON.
 * @param {string} path
 * @param {any} [body]
 * @param {{ type?: string, signal?: AbortSignal, more?: Record<string, string> }} [options]
 */
export async function post(path, body, { type = "application/json", signal, more = {} } = {}) {
  const sent = type === "application/json" ? JSON.stringify(body ?? {}) : body;
  return (
    await ask(path, { method: "POST", body: sent, headers: headers({ "Content-Type": type, ...more }), signal })
  ).json();
}

/** Deletes what is at a path. */
export async function remove(path) {
  await ask(path, { method: "DELETE", headers: headers() });
}

/** A file, fetched with the key. */
export async function file(path, signal) {
  return (await ask(path, { headers: headers(), signal })).blob();
}

/** Fetches a file with the key and hands it to the browser to save. */
export async function save(path, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await file(path));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

let described;

/** The gateway's OpenAPI document, read once. */
export function description() {
  described ??= get("/openapi.json").catch((error) => {
    described = undefined;
    throw error;
  });
  return described;
}

/** Whether this gateway has an address. */
export async function knows(path) {
  return path in (await description()).paths;
}

/** Follows a job's events after `last`; ends when the job has ended or the signal is given. `told` gets every record. */
export async function follow(jobId, last, signal, told, lost) {
  let ended = false;
  while (!ended && !signal.aborted) {
    try {
      const more = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
      const answer = await ask(`/v1/jobs/${jobId}/events/stream`, { headers: headers(more), signal });
      lost?.(false);
      for await (const record of records(answer.body)) {
        if (record.id) last = record.id;
        if (record.data) {
          const event = JSON.parse(record.data);
          ended = /^job\.(succeeded|failed|cancelled)$/.test(event.name);
          told(event);
        }
      }
    } catch (error) {
      if (signal.aborted || (error.status >= 400 && error.status < 500)) return;
      lost?.(true);
    }
    if (!ended) await new Promise((done) => setTimeout(done, RECONNECT_MS));
  }
}

/** Server-sent records of a byte stream. */
async function* records(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    yield* parts.map(readRecord);
  }
}

function readRecord(text) {
  const record = { data: "" };
  for (const line of text.split("\n")) {
    const at = line.indexOf(":");
    if (at < 1) continue;
    const value = line.slice(at + 1).replace(/^ /, "");
    if (line.slice(0, at) === "data") record.data += (record.data ? "\n" : "") + value;
    else record[line.slice(0, at)] = value;
  }
  return record;
}
