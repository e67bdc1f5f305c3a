/**
 * The rows of a list that are in sight, and no others: however far one scrolls, a few blocks of rows are held and renewed.
 * A block follows the one before it by cursor, so that no row is left out or comes twice; only a jump asks for a row by its
 * number.
 */

import { useQueries } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";

import { answer, client } from "./client";
import { POLL, type InstanceQuery } from "./queries";
import type { InstancePage, InstanceRow } from "./schema";

/** Rows that are asked for at once. */
export const BLOCK = 100;
/** Rows beyond those in sight that are asked for before one gets there. */
const AHEAD = 40;
/** A jump over more than this is waited for: while somebody drags the scrollbar, what flies by is not asked for. */
const SETTLE = 120;
/** No browser draws a box that is higher than some 33 million pixels. */
const MOST = 700_000;
/** Blocks are forgotten soon after they are out of sight. */
const KEPT = 30_000;

export interface Range {
  first: number;
  last: number;
}

export interface Window {
  /** The newest answer: how many rows there are, and of which moment. */
  data: InstancePage | undefined;
  /** How many rows there are to scroll through. */
  count: number;
  error: unknown;
  failureCount: number;
  isPending: boolean;
  refetch: () => unknown;
  /** A row by its number, if it is there. */
  row: (index: number) => InstanceRow | undefined;
  /** The number of a row that is there. */
  indexOf: (id: number) => number | undefined;
}

/** Where blocks begin: behind which cursor, for those whose block before was seen. */
type Starts = ReadonlyMap<number, string>;

/** @param range The rows in sight. */
export function useInstanceWindow(query: InstanceQuery, range: Range): Window {
  const question = JSON.stringify(query);
  // The last answer, of whatever block: after a jump there is none for those in sight yet.
  const last = useRef<{ data: InstancePage; count: number } | undefined>(undefined);
  const blocks = useBlocks(range, question, last.current?.count ?? Infinity);
  const [known, setKnown] = useState<{ question: string; starts: Starts }>({ question, starts: new Map() });
  const starts: Starts = known.question === question ? known.starts : new Map();
  const answers = useQueries({
    queries: blocks.map((block) => {
      const cursor = starts.get(block);
      const from = block === 0 ? {} : cursor === undefined ? { row: block * BLOCK } : { cursor };
      return {
        queryKey: ["instances", query, from],
        queryFn: ({ signal }: { signal: AbortSignal }) =>
          answer(client.GET("/api/v1/instances", { params: { query: { ...query, ...from, limit: BLOCK } }, signal })),
        refetchInterval: POLL,
        gcTime: KEPT,
        placeholderData: undefined,
      };
    }),
  });

  // What a block showed stays until the next answer for it is there: its cursor changes whenever a row before it does.
  // So does what was there before another question was asked.
  const shown = useRef<{ question: string; pages: Map<number, InstancePage> }>({ question, pages: new Map() });
  if (shown.current.question !== question && answers.some(({ data }) => data)) {
    shown.current = { question, pages: new Map() };
  }
  const { pages } = shown.current;
  const current = shown.current.question === question;
  blocks.forEach((block, place) => {
    const data = answers[place]?.data;
    if (data) {
      pages.set(block, data);
    }
  });
  for (const block of [...pages.keys()]) {
    if (!blocks.includes(block)) {
      pages.delete(block);
    }
  }

  const found = current ? blocks.flatMap((block) => nextOf(block, pages.get(block))) : [];
  useEffect(() => {
    // Only of blocks that are held: a cursor from long ago leads to rows that have another number by now.
    const next = new Map([...[...starts].filter(([block]) => blocks.includes(block)), ...found]);
    if (found.some(([block, cursor]) => starts.get(block) !== cursor) || next.size < starts.size) {
      setKnown({ question, starts: next });
    }
  });

  const failed = answers.find(({ error }) => error);
  const latest = [...pages.values()].sort((a, b) => a.as_of.localeCompare(b.as_of)).at(-1);
  if (latest !== undefined) {
    last.current = { data: latest, count: countOf(latest.total, pages) };
  }
  return {
    data: last.current?.data,
    count: last.current?.count ?? 0,
    error: failed?.error ?? null,
    failureCount: Math.max(0, ...answers.map(({ failureCount }) => failureCount)),
    isPending: last.current === undefined && answers.some(({ isPending }) => isPending),
    refetch: () => Promise.all(answers.map(({ refetch }) => refetch())),
    row: (index) => pages.get(Math.floor(index / BLOCK))?.items[index % BLOCK],
    indexOf: (id) => {
      for (const [block, { items }] of pages) {
        const place = items.findIndex((item) => item.id === id);
        if (place >= 0) {
          return block * BLOCK + place;
        }
      }
      return undefined;
    },
  };
}

const nextOf = (block: number, page: InstancePage | undefined): (readonly [number, string])[] =>
  page?.next_cursor ? [[block + 1, page.next_cursor]] : [];

/** The total; but where the end was seen, that is where it is, although rows have come or gone since they were counted. */
function countOf(total: number, pages: ReadonlyMap<number, InstancePage>): number {
  const all = [...pages];
  const ends = all.filter(([, page]) => page.next_cursor === null).map(([block, page]) => block * BLOCK + page.items.length);
  const more = all.filter(([, page]) => page.next_cursor !== null).map(([block]) => (block + 1) * BLOCK + 1);
  return Math.min(MOST, ends.length > 0 ? Math.min(...ends) : Math.max(total, ...more));
}

/** The blocks to hold: at once when they are beside the last ones, else when the scrolling has come to rest. */
function useBlocks({ first, last }: Range, question: string, count: number): number[] {
  const low = Math.max(0, Math.floor((Math.min(first, count - 1) - AHEAD) / BLOCK));
  const high = Math.max(low, Math.floor(Math.min(last + AHEAD, count - 1) / BLOCK));
  const [settled, setSettled] = useState({ low, high, question });
  const asked = settled.question === question ? settled : { low, high, question };
  const near = low <= asked.high + 1 && high >= asked.low - 1;
  useEffect(() => {
    if (settled.low === low && settled.high === high && settled.question === question) {
      return undefined;
    }
    const timer = setTimeout(() => setSettled({ low, high, question }), near ? 0 : SETTLE);
    return () => clearTimeout(timer);
  }, [high, low, near, question, settled]);
  return Array.from({ length: asked.high - asked.low + 1 }, (_, index) => asked.low + index);
}
