// Numbers, times and sizes as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const dateTime = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});

export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));
export const percent = (value, digits = 1) =>
  value === null || value === undefined ? "–" : `${(value * 100).toFixed(digits)} %`;
export const signed = (value, digits = 1) =>
  `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(digits)}`;
export const when = (seconds) => (seconds ? dateTime.format(new Date(seconds * 1000)) : "–");
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const words = (name) => String(name).replaceAll("_", " ");
export const short = (id) => (id ? `${id.slice(0, 10)}…` : "–");

/** Seconds as 4 s, 3 min 20 s, 2 h 5 min. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Seconds since 1970 as "3 min ago". */
export function ago(seconds) {
  const past = Date.now() / 1000 - seconds;
  if (past < 45) return "just now";
  if (past < 3600) return `${Math.max(1, Math.round(past / 60))} min ago`;
  if (past < 86400) return `${Math.round(past / 3600)} h ago`;
  return past < 7 * 86400 ? plural(Math.round(past / 86400), "day") + " ago" : when(seconds);
}

/** Bytes as 4.2 MB. */
export function bytes(size) {
  if (size === null || size === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = size < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(size) / 3));
  return `${(size / 1000 ** power).toFixed(power && size / 1000 ** power < 100 ? 1 : 0)} ${units[power]}`;
}

/** Millionths of a dollar. */
export const dollars = (micro) => `$${(micro / 1e6).toFixed(micro && micro < 1e5 ? 4 : 2)}`;

/** How many a second or a minute, whichever reads better. */
export function rate(perSecond, unit) {
  if (!Number.isFinite(perSecond) || perSecond <= 0) return "";
  return perSecond >= 1
    ? `${perSecond.toFixed(1)} ${unit}/s`
    : `${(perSecond * 60).toFixed(perSecond * 60 < 10 ? 1 : 0)} ${unit}/min`;
}
