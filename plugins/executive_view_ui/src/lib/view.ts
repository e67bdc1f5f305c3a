/** What a page shows, in its address: whoever gets the link sees the same. The names are those of the API. */

import type { EventQuery, InstanceQuery, OverviewQuery } from "../api/queries";

type Kind = "text" | "many" | "flag";

const INSTANCES: Record<string, Kind> = {
  q: "text",
  match: "text",
  stream: "many",
  domain: "many",
  owner: "many",
  criticality: "many",
  state: "many",
  health: "many",
  live: "flag",
  step: "many",
  stack: "many",
  waits_for: "many",
  waiting_people: "flag",
  parked: "flag",
  acknowledged: "flag",
  job: "text",
  business_date: "text",
  started_from: "text",
  started_to: "text",
  order: "text",
};
const OVERVIEW: Record<string, Kind> = { stream: "many", domain: "many", owner: "many", criticality: "many" };
const EVENTS: Record<string, Kind> = {
  stream: "many",
  run_id: "text",
  kind: "many",
  actor: "many",
  q: "text",
  since: "text",
  until: "text",
};

/** The part of an address that the API knows; the rest (an open tab, say) is none of its business. */
function read(params: URLSearchParams, names: Record<string, Kind>): Record<string, string | string[] | boolean> {
  const query: Record<string, string | string[] | boolean> = {};
  for (const [name, kind] of Object.entries(names)) {
    const values = params.getAll(name).filter((value) => value !== "");
    const [first] = values;
    if (first !== undefined) {
      query[name] = kind === "many" ? [...values].sort() : kind === "flag" ? first === "true" : first;
    }
  }
  return query;
}

export const instanceQuery = (params: URLSearchParams): InstanceQuery => read(params, INSTANCES) as InstanceQuery;
export const overviewQuery = (params: URLSearchParams): OverviewQuery => read(params, OVERVIEW) as OverviewQuery;
export const eventQuery = (params: URLSearchParams): EventQuery => read(params, EVENTS) as EventQuery;

/** The same as a query string, in one order: two addresses that mean the same are the same. */
export function written(query: object): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query).sort(([a], [b]) => a.localeCompare(b))) {
    for (const one of Array.isArray(value) ? [...value].sort() : [value]) {
      if (one !== undefined && one !== null && one !== "") {
        params.append(name, String(one));
      }
    }
  }
  return params.toString();
}

export type Changes = Record<string, string | string[] | boolean | null>;

/** An address with some of its values replaced; null and empty ones go. */
export function changed(params: URLSearchParams, changes: Changes): URLSearchParams {
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== "") {
        next.append(name, String(one));
      }
    }
  }
  return next;
}

export interface View {
  name: string;
  search: string;
}

/** What everybody has; written as `written` does. */
export const VIEWS: readonly View[] = [
  { name: "Live", search: "live=true" },
  { name: "Late", search: "health=late&live=true" },
  { name: "At risk", search: "health=at_risk&live=true" },
  { name: "Failed", search: "health=failed" },
  { name: "Waiting for people", search: "live=true&waiting_people=true" },
  { name: "Parked", search: "live=true&parked=true" },
  { name: "Everything", search: "order=newest" },
];

const SAVED = "enterprise-orch.views";

/** The user's own, of this browser. */
export function savedViews(): View[] {
  try {
    const found: unknown = JSON.parse(globalThis.localStorage.getItem(SAVED) ?? "[]");
    return Array.isArray(found)
      ? found.filter((view): view is View => typeof view?.name === "string" && typeof view?.search === "string")
      : [];
  } catch {
    return [];
  }
}

export function saveViews(views: readonly View[]): void {
  globalThis.localStorage.setItem(SAVED, JSON.stringify(views));
}
