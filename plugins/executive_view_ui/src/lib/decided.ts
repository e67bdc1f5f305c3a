/** What was decided, told where it shows: at the branch itself, on each way out of it, and at the steps behind. */

import type { DecisionTold, SeenValue, Way } from "../api/schema";
import { told } from "./words";

/** One way out of a branch, as it was when it was decided. */
export interface WayTold {
  rule: string;
  fired: boolean;
  /** Who had it go this way although its rule did not fire. */
  by: string | undefined;
  /** The values that the rule names; all of them for one that names none. */
  values: readonly SeenValue[];
}

export const wayKey = (source: string, target: string): string => `${source}\0${target}`;

/** The ways that were decided about, by the step that they lead from and to. */
export function waysTold(decisions: readonly DecisionTold[]): Map<string, WayTold> {
  const found = new Map<string, WayTold>();
  for (const decision of decisions) {
    for (const way of decision.ways) {
      for (const target of leadsTo(way)) {
        const key = wayKey(decision.step.id, target);
        // Several rules can lead to one step: the one that fired says why.
        if (way.fired || !found.has(key)) {
          const by = !way.fired && decision.chosen.includes(target) ? decision.overridden?.by : undefined;
          found.set(key, { rule: way.title, fired: way.fired, by, values: valuesOf(way, decision) });
        }
      }
    }
  }
  return found;
}

const leadsTo = (way: Way): string[] =>
  Array.isArray(way.leads_to) ? way.leads_to.filter((step): step is string => typeof step === "string") : [];

function valuesOf(way: Way, decision: DecisionTold): readonly SeenValue[] {
  const named = decision.values.filter(({ name }) => names(way.title, name));
  return named.length > 0 ? named : decision.values;
}

/** Whether a condition names a value; `params.amount` is none of `params.amount_due`. */
function names(rule: string, name: string): boolean {
  const at = rule.indexOf(name);
  return at >= 0 && !/[\w.]/u.test(rule.charAt(at - 1)) && !/\w/u.test(rule.charAt(at + name.length));
}

/** "amount 18250.5, credit class B": short enough to stand on a line of the graph. */
export const valuesInShort = (values: readonly SeenValue[]): string =>
  values.map(({ name, value }) => `${(name.split(".").at(-1) ?? name).replaceAll("_", " ")} ${told(value)}`).join(", ");

/** The decisions that a step came from: which led to it, or passed it by. */
export const decidedAbout = (decisions: readonly DecisionTold[], step: string): DecisionTold[] =>
  decisions.filter(({ ways }) => ways.some((way) => leadsTo(way).includes(step)));
