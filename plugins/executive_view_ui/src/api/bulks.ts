/** The same action on many instances: the server counts, carries it out in the background, and tells what became of each. */

import { useQuery } from "@tanstack/react-query";

import { newId, sent, type ActionAsked } from "./actions";
import { answer, client } from "./client";
import { POLL } from "./queries";
import type { Bulk, InstanceFilter } from "./schema";

export type BulkFilter = Partial<InstanceFilter>;

export const askBulk = (id: string, filter: BulkFilter, action: ActionAsked, dryRun: boolean): Promise<Bulk> =>
  sent(client.POST("/api/v1/bulk", { body: { id, filter: filter as InstanceFilter, action, dry_run: dryRun } }));

export const stopBulk = (id: string, bulk: string, reason: string): Promise<Bulk> =>
  sent(client.POST("/api/v1/bulk/{bulk_id}/stop", { params: { path: { bulk_id: bulk } }, body: { id, reason } }));

export const useBulks = (enabled: boolean) =>
  useQuery({ queryKey: ["bulks"], queryFn: ({ signal }) => answer(client.GET("/api/v1/bulk", { signal })), refetchInterval: 2 * POLL, enabled });

/** How many instances an action would concern at this moment; counting changes nothing. */
export const useCount = (filter: BulkFilter, action: ActionAsked, enabled: boolean) =>
  useQuery({
    queryKey: ["bulk-count", filter, action],
    queryFn: () => askBulk(newId(), filter, action, true),
    enabled,
    gcTime: 0,
    staleTime: 0,
    placeholderData: undefined,
  });

const running = (bulk: Bulk | undefined): boolean => bulk?.state === "running";

export const useBulk = (id: string) =>
  useQuery({
    queryKey: ["bulk", id],
    queryFn: ({ signal }) => answer(client.GET("/api/v1/bulk/{bulk_id}", { params: { path: { bulk_id: id } }, signal })),
    placeholderData: undefined,
    refetchInterval: ({ state }) => (running(state.data) ? 1_000 : false),
  });

export type Outcome = "open" | "done" | "refused" | "failed";

export const useBulkResults = (bulk: Bulk, outcome: Outcome | null, cursor: string) =>
  useQuery({
    // Once more when it is over: the last look was before its last instances.
    queryKey: ["bulk-results", bulk.id, outcome, cursor, bulk.state],
    queryFn: ({ signal }) =>
      answer(client.GET("/api/v1/bulk/{bulk_id}/results", { params: { path: { bulk_id: bulk.id }, query: { outcome, cursor } }, signal })),
    refetchInterval: running(bulk) ? 2_000 : false,
  });
