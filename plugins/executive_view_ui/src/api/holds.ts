/** Holds of streams, systems and connections: what keeps everything from beginning there. */

import { useQuery } from "@tanstack/react-query";

import { sent } from "./actions";
import { answer, client } from "./client";
import { POLL } from "./queries";
import type { Hold, HoldAsked } from "./schema";

export type Scope = HoldAsked["scope"];

/** What can be held, in words, and what of it then waits. */
export const SCOPES: readonly (readonly [Scope, string, string])[] = [
  ["stream", "stream", "all its instances"],
  ["system", "kind of system", "every step that runs on it, in all streams"],
  ["connection", "connection", "every step that uses it, in all streams"],
];

export const scopeOf = (scope: Scope): string => SCOPES.find(([id]) => id === scope)?.[1] ?? scope;

export const useHolds = () =>
  useQuery({ queryKey: ["holds"], queryFn: ({ signal }) => answer(client.GET("/api/v1/holds", { signal })), refetchInterval: 2 * POLL });

export const placeHold = (id: string, hold: Omit<HoldAsked, "id">): Promise<Hold> => sent(client.POST("/api/v1/holds", { body: { ...hold, id } }));

export const releaseHold = (id: string, hold: string, reason: string): Promise<Hold> =>
  sent(client.POST("/api/v1/holds/{hold_id}/release", { params: { path: { hold_id: hold } }, body: { id, reason } }));
