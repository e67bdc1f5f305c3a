/** Holds of streams, systems and connections: what keeps everything from beginning there. */

import { useQuery } from "@tanstack/react-query";

import { sent } from "./actions";
import { answer, client } from "./client";
import { POLL } from "./queries";
import type { Hold, HoldAsked } from "./schema";

export type Scope = HoldAsked["scope"];

export const useHolds = () =>
  useQuery({ queryKey: ["holds"], queryFn: ({ signal }) => answer(client.GET("/api/v1/holds", { signal })), refetchInterval: 2 * POLL });

export const placeHold = (id: string, hold: Omit<HoldAsked, "id">): Promise<Hold> => sent(client.POST("/api/v1/holds", { body: { ...hold, id } }));

export const releaseHold = (id: string, hold: string, reason: string): Promise<Hold> =>
  sent(client.POST("/api/v1/holds/{hold_id}/release", { params: { path: { hold_id: hold } }, body: { id, reason } }));
