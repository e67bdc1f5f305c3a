/** How actions look and read, and how what people type becomes what is asked. */

import type { Action, ActionAsked } from "../api/actions";
import type { Offer } from "../api/schema";
import type { IconName } from "../ui/icons";
import type { Look, Tone } from "./words";

export interface ActionLook {
  icon: IconName;
  /** On buttons. */
  verb: string;
  /** On the button that does it, where the verb alone would not say what. */
  does?: string;
  /** At the head of the dialog, before what it is about. */
  title: string;
  /** What it is for, in a sentence: people choose by that. */
  about: string;
  /** Ends or repeats work. */
  grave?: true;
  /** On the list of instances. */
  key?: string;
}

export const ACTIONS: Record<Action, ActionLook> = {
  acknowledge: { icon: "check", verb: "Acknowledge", title: "Acknowledge", about: "Somebody has seen it and looks after it.", key: "a" },
  unacknowledge: { icon: "dash", verb: "Not acknowledged", title: "Take the acknowledgement back from", about: "Nobody looks after it any more." },
  hold: { icon: "pause", verb: "Hold", title: "Hold", about: "What has not begun does not begin until it is released, here or where its own system can hold it.", key: "h" },
  release: { icon: "play", verb: "Release", title: "Release", about: "What is held goes on.", key: "l" },
  retry: { icon: "retry", verb: "Retry", title: "Try again", about: "What failed is tried again, and what was not reached runs.", key: "r" },
  restart: { icon: "restart", verb: "Restart here", title: "Restart at", about: "The step and what follows it run again.", grave: true },
  skip: { icon: "skip", verb: "Skip", title: "Skip", about: "The step does not run, and the stream goes on without it.", grave: true },
  complete: { icon: "check", verb: "Complete by hand", title: "Complete", about: "The step counts as done, with what you say it gives.", grave: true },
  cancel: { icon: "stop", verb: "Cancel", does: "Cancel the work", title: "Cancel", about: "The work ends, on the other system too, and counts as failed.", grave: true, key: "c" },
  override: { icon: "branch", verb: "Override", title: "Override", about: "It goes another way than its rules say." },
  due: { icon: "clock", verb: "Due time", does: "Change the due time", title: "Change the due time of", about: "The time that it is measured by; the first one is kept.", key: "d" },
  priority: { icon: "priority", verb: "Priority", does: "Change the priority", title: "Change the priority of", about: "What has not begun goes before or after that of others.", key: "p" },
  params: { icon: "edit", verb: "Params", does: "Change the params", title: "Change the params of", about: "Steps that have not begun are given other values." },
};

const known: Record<string, ActionLook> = ACTIONS;

/** A newer server may know more. */
export const actionLook = (action: string): ActionLook =>
  known[action] ?? { icon: "dot", verb: action.replaceAll("_", " "), title: action.replaceAll("_", " "), about: "" };

const WHAT: Record<string, Look> = {
  held: { tone: "wait", icon: "pause", text: "held" },
  released: { tone: "ok", icon: "play", text: "released" },
  skipped: { tone: "risk", icon: "skip", text: "skipped" },
  completed: { tone: "ok", icon: "check", text: "counts as done" },
  cancelled: { tone: "failed", icon: "stop", text: "cancelled" },
  runs: { tone: "live", icon: "play", text: "runs" },
  runs_again: { tone: "risk", icon: "retry", text: "runs again" },
  not_run: { tone: "idle", icon: "dash", text: "does not run" },
  stays: { tone: "idle", icon: "lock", text: "stays" },
  changed: { tone: "live", icon: "branch", text: "changes" },
  acknowledged: { tone: "ok", icon: "check", text: "acknowledged" },
};

export const effectLook = (what: string): Look => WHAT[what] ?? { tone: "idle" as Tone, icon: "dot", text: what.replaceAll("_", " ") };

/** What a dialog's fields hold, as typed. */
export interface Typed {
  reason: string;
  item: string;
  until: string | undefined;
  leaveJob: boolean;
  outputs: Record<string, string>;
  targets: readonly string[];
  params: Record<string, string>;
  dueAt: string | undefined;
  priority: string;
}

/** Stands for the reason while none is given: what would happen, and to how many, does not hang on it. */
export const NO_REASON_YET = "not given yet";

export const NOTHING_TYPED: Typed = {
  reason: "",
  item: "",
  until: undefined,
  leaveJob: false,
  outputs: {},
  targets: [],
  params: {},
  dueAt: undefined,
  priority: "",
};

/** What is missing or wrong, by the field that it is about. */
export type Mistakes = Record<string, string>;

export const REASON = 3;

export function reasonMistake(reason: string): string {
  return reason.trim().length < REASON ? "Say why, in a few words: whoever comes after you reads it." : "";
}

/** A value as its type has it; undefined while it is none. */
export function valueOf(type: string, text: string): unknown {
  switch (type) {
    case "integer":
      return /^[+-]?\d+$/u.test(text.trim()) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined;
    case "number":
      return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
    case "boolean":
      return text === "true" ? true : text === "false" ? false : undefined;
    case "string":
      return text;
    default:
      try {
        return JSON.parse(text) as unknown;
      } catch {
        return undefined;
      }
  }
}

/** What a field of a type asks for, where what stands there is none. */
export const typeMistake = (type: string): string =>
  ({ integer: "A whole number.", number: "A number.", boolean: "Choose yes or no." })[type] ?? "JSON, such as [1, 2] or {\"a\": 1}.";

/** How a value stands in its field. */
export const typedOf = (type: string, value: unknown): string =>
  value === null || value === undefined ? "" : type === "string" && typeof value === "string" ? value : typeof value === "object" ? JSON.stringify(value) : String(value);

export interface ParamField {
  name: string;
  title: string;
  type: string;
  description: string;
  choices: readonly unknown[];
  now: unknown;
}

/** What is asked, and what is missing yet; the reason is for the end, and no part of what is missing. */
export function asked(offer: Offer, step: string | null, typed: Typed, params: readonly ParamField[] = []): { asked: ActionAsked; mistakes: Mistakes } {
  const mistakes: Mistakes = {};
  const said: ActionAsked = { action: offer.action, step, reason: typed.reason.trim() };
  const needs = new Set(offer.needs);
  const [must, may] = [offer.outputs ?? {}, offer.optional_outputs ?? {}];
  if (typed.item !== "") {
    said.map_index = Number(typed.item);
  }
  if (typed.leaveJob) {
    said.leave_job = true;
  }
  if (needs.has("until") && typed.until !== undefined) {
    if (typed.until === "") {
      mistakes["until"] = "Say until when, or choose to hold it until somebody releases it.";
    } else {
      said.until = typed.until;
    }
  }
  if (needs.has("outputs")) {
    said.outputs = {};
    for (const [name, type] of [...Object.entries(must), ...Object.entries(may)]) {
      const text = typed.outputs[name] ?? "";
      const needed = name in must;
      if (!needed && text === "") {
        continue;
      }
      const value = valueOf(type, text);
      if (value === undefined || (needed && type === "string" && text === "")) {
        mistakes[`outputs.${name}`] = type === "string" ? "Say what it is." : typeMistake(type);
      } else {
        said.outputs[name] = value;
      }
    }
  }
  if (needs.has("targets")) {
    said.targets = (offer.targets ?? []).map(({ id }) => id).filter((id) => typed.targets.includes(id));
    if (said.targets.length === 0) {
      mistakes["targets"] = "Choose where it goes.";
    }
  }
  if (needs.has("params")) {
    said.params = {};
    for (const { name, type, now } of params) {
      const text = typed.params[name];
      if (text === undefined || text === typedOf(type, now)) {
        continue;
      }
      const value = valueOf(type, text);
      if (value === undefined) {
        mistakes[`params.${name}`] = typeMistake(type);
      } else {
        said.params[name] = value;
      }
    }
    if (Object.keys(said.params).length === 0 && Object.keys(mistakes).length === 0) {
      mistakes["params"] = "Change at least one value.";
    }
  }
  if (needs.has("due_at")) {
    if (typed.dueAt) {
      said.due_at = typed.dueAt;
    } else {
      mistakes["due_at"] = "Say when it is due.";
    }
  }
  if (needs.has("priority")) {
    const value = valueOf("integer", typed.priority);
    if (typeof value === "number" && value >= 1) {
      said.priority = value;
    } else {
      mistakes["priority"] = "A whole number from 1; more goes first.";
    }
  }
  return { asked: said, mistakes };
}
