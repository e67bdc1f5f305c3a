/** What people may do, what it would do, and doing it. Only POSTs change anything, each under an id of its own. */

import { useQuery, useQueryClient } from "@tanstack/react-query";

import { answer, ApiProblem, client } from "./client";
import { POLL } from "./queries";
import type { ActionAsked as Asked, ActionDone, ActionPreview, HeldJob, Offer } from "./schema";

export type Action = Offer["action"];
export type ActionAsked = Asked;

/** An id that nobody else has. `randomUUID` is only there where the page came by HTTPS. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** No answer came: whether it was done nobody knows, until the same is asked again under the same id. */
export class NoAnswer extends Error {}

/** The answer to what changes something; what leaves it open whether anything was changed is a `NoAnswer`. */
export async function sent<Told>(call: Promise<{ data?: Told; response: Response }>): Promise<Told> {
  try {
    return await answer(call);
  } catch (error) {
    if (error instanceof ApiProblem && error.status >= 400 && error.status < 500) {
      throw error;
    }
    throw new NoAnswer(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

const of = (dagId: string, runId: string) => ({ path: { dag_id: dagId, run_id: runId } });

/** What may be done with an instance; asked anew when the instance has changed. */
export const useActions = (dagId: string, runId: string, changedAt: string | null, enabled: boolean) =>
  useQuery({
    queryKey: ["actions", dagId, runId, changedAt],
    queryFn: ({ signal }) => answer(client.GET("/api/v1/dags/{dag_id}/dagRuns/{run_id}/actions", { params: of(dagId, runId), signal })),
    placeholderData: (before, query) => (query?.queryKey[1] === dagId && query.queryKey[2] === runId ? before : undefined),
    // Who asked for a hold waits for the word of the system that has the job.
    refetchInterval: ({ state }) => (Object.values(state.data?.held_jobs ?? {}).flat().some(pending) ? POLL : 3 * POLL),
    enabled,
  });

const pending = ({ state }: HeldJob): boolean => state === "asked" || state === "requested";

/** A preview needs an id as the action itself does, and leaves nothing under it. */
const PREVIEWED = "preview-only";

/** What an action would do; `asked` undefined while that is not said yet. Another `look` forgets what the one before told. */
export const usePreview = (dagId: string, runId: string, asked: ActionAsked | undefined, look: number) =>
  useQuery({
    queryKey: ["preview", dagId, runId, asked, look],
    queryFn: ({ signal }): Promise<ActionPreview> =>
      answer(
        client.POST("/api/v1/dags/{dag_id}/dagRuns/{run_id}/actions/preview", {
          params: of(dagId, runId),
          body: { ...(asked as ActionAsked), id: PREVIEWED },
          signal,
        }),
      ),
    enabled: asked !== undefined,
    gcTime: 0,
    staleTime: 0,
    // What another wish would do must never stand below this one.
    placeholderData: undefined,
    refetchInterval: 3 * POLL,
  });

export const act = (dagId: string, runId: string, id: string, version: string | null, asked: ActionAsked): Promise<ActionDone> =>
  sent(client.POST("/api/v1/dags/{dag_id}/dagRuns/{run_id}/actions", { params: of(dagId, runId), body: { ...asked, id, version } }));

/** Lets all pages ask anew for what an action may have changed. */
export function useRenew(): () => void {
  const client = useQueryClient();
  return () => {
    for (const name of ["actions", "bulk", "bulks", "events", "holds", "instance", "instances", "overview", "stream"]) {
      void client.invalidateQueries({ queryKey: [name] });
    }
  };
}
