/** How a state looks and reads: never by colour alone. */

import type { IconName } from "../ui/icons";
import { exactly } from "./format";

export type Tone = "ok" | "risk" | "late" | "failed" | "wait" | "live" | "idle";

export interface Look {
  tone: Tone;
  icon: IconName;
  text: string;
}

const HEALTH: Record<string, Look> = {
  on_time: { tone: "ok", icon: "check", text: "On time" },
  at_risk: { tone: "risk", icon: "alert", text: "At risk" },
  late: { tone: "late", icon: "late", text: "Late" },
  failed: { tone: "failed", icon: "cross", text: "Failed" },
  waiting: { tone: "wait", icon: "person", text: "Waiting" },
  no_due: { tone: "idle", icon: "check", text: "No due time" },
  unknown: { tone: "idle", icon: "dash", text: "Unknown" },
};

const LEVEL: Record<string, Look> = {
  ok: { tone: "ok", icon: "check", text: "In order" },
  attention: { tone: "risk", icon: "alert", text: "Needs attention" },
  problem: { tone: "late", icon: "late", text: "Problem" },
  idle: { tone: "idle", icon: "dash", text: "Nothing live" },
};

const INSTANCE: Record<string, Look> = {
  queued: { tone: "idle", icon: "clock", text: "Queued" },
  running: { tone: "live", icon: "play", text: "Running" },
  success: { tone: "ok", icon: "check", text: "Done" },
  failed: { tone: "failed", icon: "cross", text: "Failed" },
  deleted: { tone: "idle", icon: "dash", text: "Deleted in Airflow" },
  unknown: { tone: "idle", icon: "dash", text: "Unknown" },
};

const STEP: Record<string, Look> = {
  open: { tone: "idle", icon: "dot", text: "Not yet" },
  queued: { tone: "idle", icon: "clock", text: "Queued" },
  running: { tone: "live", icon: "play", text: "Running" },
  waiting_person: { tone: "wait", icon: "person", text: "Waits for a person" },
  parked: { tone: "wait", icon: "help", text: "Parked" },
  held: { tone: "wait", icon: "pause", text: "Held" },
  retry: { tone: "risk", icon: "retry", text: "Tries again" },
  success: { tone: "ok", icon: "check", text: "Done" },
  warning: { tone: "risk", icon: "check", text: "Done, with a warning" },
  failed: { tone: "failed", icon: "cross", text: "Failed" },
  blocked: { tone: "idle", icon: "stop", text: "Not reached" },
  skipped: { tone: "idle", icon: "skip", text: "Not taken" },
  removed: { tone: "idle", icon: "dash", text: "Removed" },
};

const VERDICT: Record<string, Look> = {
  success: { tone: "ok", icon: "check", text: "Ended well" },
  warning: { tone: "risk", icon: "check", text: "Ended with a warning" },
  failure: { tone: "failed", icon: "cross", text: "Failed" },
  submitted: { tone: "live", icon: "play", text: "Out there" },
  intent: { tone: "live", icon: "remote", text: "Being handed over" },
  closed: { tone: "idle", icon: "dash", text: "Closed" },
  parked: { tone: "wait", icon: "help", text: "Parked" },
};

const WAITS: Record<string, Look> = {
  nothing: { tone: "idle", icon: "dash", text: "" },
  remote_job: { tone: "live", icon: "remote", text: "its remote job" },
  resource: { tone: "idle", icon: "clock", text: "a free resource" },
  person: { tone: "wait", icon: "person", text: "a person" },
  calendar: { tone: "idle", icon: "calendar", text: "the calendar" },
  hold: { tone: "wait", icon: "pause", text: "a hold to be lifted" },
  stream: { tone: "live", icon: "branch", text: "another stream" },
  retry: { tone: "risk", icon: "retry", text: "the next try" },
};

const HOLD_OF_JOB: Record<string, Look> = {
  "hold asked": { tone: "wait", icon: "clock", text: "Hold asked for" },
  "hold requested": { tone: "wait", icon: "clock", text: "Hold requested over there" },
  "hold confirmed": { tone: "wait", icon: "pause", text: "Held over there" },
  "hold unsupported": { tone: "risk", icon: "alert", text: "Cannot be held over there" },
  "hold refused": { tone: "risk", icon: "alert", text: "Hold refused over there" },
  "hold too_late": { tone: "risk", icon: "alert", text: "Hold came too late" },
  "hold released": { tone: "idle", icon: "play", text: "Hold is over" },
  "release asked": { tone: "wait", icon: "clock", text: "Release asked for" },
  "release requested": { tone: "wait", icon: "clock", text: "Release requested over there" },
  "release unsupported": { tone: "risk", icon: "alert", text: "Cannot be released over there" },
  "release refused": { tone: "risk", icon: "alert", text: "Release refused over there" },
  "release too_late": { tone: "idle", icon: "play", text: "Needs no release" },
  "release released": { tone: "idle", icon: "play", text: "Released over there" },
};

/** A word that we do not know yet, from a newer server, is shown as it is. */
const look =
  (known: Record<string, Look>) =>
  (value: string): Look =>
    known[value] ?? { tone: "idle", icon: "dot", text: sentence(value) };

export const health = look(HEALTH);
export const level = look(LEVEL);
export const instanceState = look(INSTANCE);
export const stepState = look(STEP);
export const verdict = look(VERDICT);
export const waits = look(WAITS);

/** What became of the hold, or of the release, of a job that was handed over. */
export const holdOfJob = ({ what, state }: { what: string; state: string }): Look => look(HOLD_OF_JOB)(`${what} ${state}`);

const STANDS: readonly string[] = ["refused", "unsupported", "too_late", "asked", "requested", "confirmed"];

/** Of the holds of a step's jobs what people must know first, for the graph; nothing once all are over. */
export function holdsInShort(jobs: readonly { what: string; state: string }[]): Look | undefined {
  const open = jobs.filter(({ state }) => state !== "released");
  const first = [...open].sort((a, b) => STANDS.indexOf(a.state) - STANDS.indexOf(b.state))[0];
  if (!first) {
    return undefined;
  }
  const alike = open.filter(({ what, state }) => what === first.what && state === first.state).length;
  const short = first.state === "confirmed" ? "Held over there" : sentence(`${first.what} ${first.state}`);
  return { ...holdOfJob(first), text: jobs.length > 1 ? `${short}: ${alike} of ${jobs.length}` : short };
}

/** "post_invoice" is "Post invoice". */
export function sentence(name: string): string {
  const words = name.replaceAll(/[_-]+/gu, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A value of JSON in one line, as short as it can be without saying something else. */
export function told(value: unknown): string {
  if (value === null || value === undefined) {
    return "–";
  }
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) {
    return value.join(", ");
  }
  if (typeof value !== "object") {
    return typeof value === "string" && ISO.test(value) ? exactly(value) : String(value);
  }
  const entries = Object.entries(value);
  const flat = !Array.isArray(value) && entries.every(([, one]) => typeof one !== "object" || one === null || isPlainList(one));
  return flat ? entries.map(([name, one]) => `${name.replaceAll("_", " ")}: ${told(one)}`).join("; ") : JSON.stringify(value);
}

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/u;
const isPlainList = (value: unknown): boolean => Array.isArray(value) && value.every((item) => typeof item !== "object");

/** Steps by their titles, where they are known; everything else as it is. */
export function titled(value: unknown, titles: ReadonlyMap<string, string>): string {
  const one = (item: unknown) => (typeof item === "string" ? (titles.get(item) ?? item) : item);
  return told(Array.isArray(value) ? value.map(one) : one(value));
}

/** Whether an instance waits for what nobody can know the end of: its forecast takes that as if it came at once. */
export const endless = (row: { parked: boolean; waits_for: string }): boolean => row.parked || row.waits_for === "hold";
