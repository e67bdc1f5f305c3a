/** Times, durations and numbers as people read them; in the language and time zone that the host is set to. */

const language = (): string | undefined => document.documentElement.lang || undefined;

/** The zone that the user chose in the host, else the browser's. */
export function zone(): string | undefined {
  try {
    const chosen: unknown = JSON.parse(globalThis.localStorage.getItem("timezone") ?? "null");
    if (typeof chosen === "string") {
      new Intl.DateTimeFormat(undefined, { timeZone: chosen });
      return chosen;
    }
  } catch {
    // not set, not readable, or a zone that this browser does not know
  }
  return undefined;
}

const cache = new Map<string, Intl.DateTimeFormat>();

function formatter(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const timeZone = zone();
  const key = JSON.stringify([language(), timeZone, options]);
  let found = cache.get(key);
  if (found === undefined) {
    found = new Intl.DateTimeFormat(language(), { timeZone, ...options });
    cache.set(key, found);
  }
  return found;
}

export type Moment = string | null | undefined;

const HOUR: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

/** "16:00" today, "Tue 16:00" within six days, else "24 Nov 16:00". */
export function moment(value: Moment, now: Date = new Date()): string {
  if (!value) {
    return "–";
  }
  const at = new Date(value);
  const day = formatter({ year: "numeric", month: "numeric", day: "numeric" });
  if (day.format(at) === day.format(now)) {
    return formatter(HOUR).format(at);
  }
  const days = Math.abs(at.getTime() - now.getTime()) / 86_400_000;
  if (days < 6) {
    return `${formatter({ weekday: "short" }).format(at)} ${formatter(HOUR).format(at)}`;
  }
  const year = at.getFullYear() === now.getFullYear() ? {} : { year: "numeric" as const };
  return `${formatter({ day: "numeric", month: "short", ...year }).format(at)} ${formatter(HOUR).format(at)}`;
}

/** With the date, the seconds and the zone: for tooltips and the audit. */
export function exactly(value: Moment): string {
  return value ? formatter({ dateStyle: "medium", timeStyle: "long" }).format(new Date(value)) : "–";
}

/** "14:02:05", for what tells how old the page is. */
export function clock(value: Moment): string {
  return value ? formatter({ ...HOUR, second: "2-digit" }).format(new Date(value)) : "–";
}

/** "24 Nov". */
export function day(value: Moment): string {
  // A day has no zone: it is the same day for everybody.
  return value
    ? new Intl.DateTimeFormat(language(), { day: "numeric", month: "short", timeZone: "UTC" }).format(new Date(value))
    : "–";
}

/** "45 s", "12 min", "2 h 05", "3 d 4 h". */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) {
    return "–";
  }
  const whole = Math.round(Math.abs(seconds));
  if (whole < 60) {
    return `${whole} s`;
  }
  const minutes = Math.round(whole / 60);
  if (minutes < 60) {
    return `${minutes} min`;
  }
  const hours = Math.floor(minutes / 60);
  if (hours < 24) {
    return `${hours} h ${String(minutes % 60).padStart(2, "0")}`;
  }
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** "+38 min" is late, "−5 min" is early. */
export function delta(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) {
    return "";
  }
  if (Math.abs(seconds) < 30) {
    return "on the dot";
  }
  return `${seconds > 0 ? "+" : "−"}${duration(seconds)}`;
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : new Intl.NumberFormat(language()).format(value);
}

/** 0.974 is "97.4 %". */
export function percent(share: number | null | undefined, digits = 1): string {
  return share === null || share === undefined
    ? "–"
    : `${new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(share * 100)} %`;
}

/** Seconds from one moment to another; null when one is missing. */
export function between(from: Moment, to: Moment): number | null {
  return from && to ? (Date.parse(to) - Date.parse(from)) / 1000 : null;
}
