import { keepPreviousData, QueryClient, useInfiniteQuery, useQuery } from "@tanstack/react-query";

import { answer, ApiProblem, client } from "./client";
import type { operations } from "./schema";

export type InstanceQuery = NonNullable<operations["instances"]["parameters"]["query"]>;
export type OverviewQuery = NonNullable<operations["overview"]["parameters"]["query"]>;
export type EventQuery = NonNullable<operations["events"]["parameters"]["query"]>;

/** What changes by itself is asked for this often, while somebody looks; the answer is mostly "not modified". */
export const POLL = 5_000;
const SELDOM = 60_000;
const EVENTS = 100;

export const newQueryClient = (): QueryClient =>
  new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: POLL,
        placeholderData: keepPreviousData,
        // Trouble on the way may pass; "you may not" and "there is none" do not.
        retry: (failures, error) => failures < 2 && !(error instanceof ApiProblem && error.status >= 400 && error.status < 500),
      },
    },
  });

export const useOverview = (query: OverviewQuery) =>
  useQuery({
    queryKey: ["overview", query],
    queryFn: ({ signal }) => answer(client.GET("/api/v1/overview", { params: { query }, signal })),
    refetchInterval: POLL,
  });

/** Who looks, and on which streams they may act. */
export const useMe = () =>
  useQuery({
    queryKey: ["me"],
    queryFn: ({ signal }) => answer(client.GET("/api/v1/me", { signal })),
    staleTime: SELDOM,
  });

export const useFacets = () =>
  useQuery({
    queryKey: ["facets"],
    queryFn: ({ signal }) => answer(client.GET("/api/v1/facets", { signal })),
    staleTime: SELDOM,
  });

export const useInstance = (dagId: string, runId: string) =>
  useQuery({
    queryKey: ["instance", dagId, runId],
    queryFn: ({ signal }) =>
      answer(
        client.GET("/api/v1/dags/{dag_id}/dagRuns/{run_id}", {
          params: { path: { dag_id: dagId, run_id: runId } },
          signal,
        }),
      ),
    // Another instance's page must never stand below this one's name.
    placeholderData: undefined,
    refetchInterval: ({ state }) => (state.data?.instance.live === false ? SELDOM : POLL),
  });

export const useStepLog = (dagId: string, runId: string, taskId: string) =>
  useQuery({
    queryKey: ["log", dagId, runId, taskId],
    queryFn: ({ signal }) =>
      answer(
        client.GET("/api/v1/dags/{dag_id}/dagRuns/{run_id}/steps/{task_id}/log", {
          params: { path: { dag_id: dagId, run_id: runId, task_id: taskId } },
          signal,
        }),
      ),
    placeholderData: undefined,
    refetchInterval: 2 * POLL,
  });

export const useStream = (dagId: string, enabled = true) =>
  useQuery({
    queryKey: ["stream", dagId],
    queryFn: ({ signal }) =>
      answer(client.GET("/api/v1/streams/{dag_id}", { params: { path: { dag_id: dagId } }, signal })),
    placeholderData: undefined,
    refetchInterval: SELDOM,
    enabled,
  });

export const useStatistics = (dagId: string, days: number) =>
  useQuery({
    queryKey: ["statistics", dagId, days],
    queryFn: ({ signal }) =>
      answer(
        client.GET("/api/v1/streams/{dag_id}/statistics", {
          params: { path: { dag_id: dagId }, query: { days } },
          signal,
        }),
      ),
    staleTime: SELDOM,
  });

export const useVersions = (dagId: string) =>
  useQuery({
    queryKey: ["versions", dagId],
    queryFn: ({ signal }) =>
      answer(client.GET("/api/v1/streams/{dag_id}/versions", { params: { path: { dag_id: dagId } }, signal })),
    staleTime: SELDOM,
  });

export const useComparison = (dagId: string, old: number, fresh: number) =>
  useQuery({
    queryKey: ["comparison", dagId, old, fresh],
    queryFn: ({ signal }) =>
      answer(
        client.GET("/api/v1/streams/{dag_id}/versions/{old}/{new}", {
          params: { path: { dag_id: dagId, old, new: fresh } },
          signal,
        }),
      ),
    staleTime: Infinity,
  });

export const useRunsAhead = (dagId: string) =>
  useQuery({
    queryKey: ["runs-ahead", dagId],
    queryFn: ({ signal }) =>
      answer(
        client.GET("/api/v1/streams/{dag_id}/runs-ahead", {
          params: { path: { dag_id: dagId }, query: { count: 20 } },
          signal,
        }),
      ),
    staleTime: SELDOM,
  });

export const useEvents = (query: EventQuery) =>
  useQuery({
    queryKey: ["events", query],
    queryFn: ({ signal }) => answer(client.GET("/api/v1/events", { params: { query: { ...query, limit: EVENTS } }, signal })),
    refetchInterval: 2 * POLL,
  });

/** What came before a page of events: it does not change, so it is asked for once. */
export const useEarlierEvents = (query: EventQuery, cursor: string | null) =>
  useInfiniteQuery({
    queryKey: ["events", query, cursor],
    queryFn: ({ pageParam, signal }) =>
      answer(client.GET("/api/v1/events", { params: { query: { ...query, cursor: pageParam, limit: EVENTS } }, signal })),
    initialPageParam: cursor ?? "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    enabled: cursor !== null,
    placeholderData: undefined,
    staleTime: Infinity,
  });

export const useOrphans = () =>
  useQuery({
    queryKey: ["orphans"],
    queryFn: ({ signal }) => answer(client.GET("/api/v1/orphans", { signal })),
    refetchInterval: SELDOM,
  });
