/** The rows in sight of a list of 100,000: what is asked for while one scrolls, jumps and waits. */

import { QueryClientProvider } from "@tanstack/react-query";
import { act, renderHook, waitFor } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";

import { queries } from "../app";
import * as samples from "../testing/samples";
import { API, http, HttpResponse, server } from "../testing/server";
import { useInstanceWindow, type Range } from "./window";

afterEach(() => vi.useRealTimers());

/** A list whose rows are numbered from 1; its cursors lead as the API's do. Returns what was asked for. */
function list(total: () => number): string[] {
  const asked: string[] = [];
  server.use(
    http.get(`${API}/instances`, ({ request }) => {
      const query = new URL(request.url).searchParams;
      const cursor = query.get("cursor");
      const from = Number(cursor ?? query.get("row") ?? 0);
      asked.push(cursor ? `cursor ${from}` : query.get("row") ? `row ${from}` : "first");
      const length = Math.max(0, Math.min(Number(query.get("limit")), total() - from));
      const next = from + length < total() ? String(from + length) : null;
      return HttpResponse.json(samples.page(from + 1, length, total(), next));
    }),
  );
  return asked;
}

const TOP: Range = { first: 0, last: 20 };

function look(range: Range = TOP) {
  const hook = renderHook(({ at, q }: { at: Range; q: string }) => useInstanceWindow({ q }, at), {
    initialProps: { at: range, q: "ORD" },
    wrapper: ({ children }) => <QueryClientProvider client={queries}>{children}</QueryClientProvider>,
  });
  const list = () => hook.result.current;
  return {
    list,
    to: (first: number, q = "ORD") => hook.rerender({ at: { first, last: first + 20 }, q }),
    /** Until all rows from here on are there that one would see. */
    seen: (first: number) => waitFor(() => expect([list().row(first)?.id, list().row(first + 20)?.id]).toEqual([first + 1, first + 21])),
  };
}

test("a jump to the end of 100,000 instances is one question", async () => {
  const asked = list(() => 100_000);
  const { to, seen, list: rows } = look();
  await seen(0);
  to(99_979);
  expect(rows().data?.total).toBe(100_000);
  await seen(99_979);
  expect(rows().count).toBe(100_000);
  expect(asked).toEqual(["first", "row 99900"]);
});

test("what flies by while somebody drags the scrollbar is not asked for", async () => {
  const asked = list(() => 100_000);
  const { to, seen } = look();
  await seen(0);
  for (let first = 5_000; first <= 60_000; first += 5_000) {
    to(first);
  }
  await seen(60_000);
  expect(asked.filter((one) => one.startsWith("row"))).toEqual(["row 59900", "row 60000"]);
});

test("who scrolls on goes by cursor, so that no row is left out or comes twice", async () => {
  const asked = list(() => 100_000);
  const { to, seen } = look();
  for (let first = 0; first <= 1_000; first += 50) {
    to(first);
    await seen(first);
  }
  expect(asked.filter((one) => one.startsWith("row"))).toEqual([]);
  expect(asked).toContain("cursor 1000");
});

test("far down the list a few blocks are held and renewed, not all that were passed", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  const asked = list(() => 100_000);
  const { to, seen, list: rows } = look();
  for (let first = 0; first <= 2_000; first += 50) {
    to(first);
    await seen(first);
  }
  expect(rows().row(0)).toBeUndefined();
  for (const wait of [5_100, 5_100]) {
    asked.length = 0;
    await act(() => vi.advanceTimersByTimeAsync(wait));
    expect(asked.length).toBeGreaterThan(0);
    expect(asked.length).toBeLessThanOrEqual(3);
  }
  asked.length = 0;
  act(() => void window.dispatchEvent(new Event("visibilitychange")));
  await act(() => vi.advanceTimersByTimeAsync(50));
  expect(asked.length).toBeLessThanOrEqual(3);
});

test("rows that go while one looks at the end leave no empty places behind", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  let total = 130;
  list(() => total);
  const { to, seen, list: rows } = look();
  to(109);
  await seen(109);
  total = 121;
  await act(() => vi.advanceTimersByTimeAsync(5_100));
  await waitFor(() => expect(rows().count).toBe(121));
  expect(rows().row(120)?.id).toBe(121);
});

test("a row is found again by what it is, wherever it went", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  let items = [1, 2, 3].map((id) => samples.row(id));
  server.use(
    http.get(`${API}/instances`, () => HttpResponse.json({ as_of: samples.NOW, total: items.length, items, next_cursor: null })),
  );
  const { list: rows } = look();
  await waitFor(() => expect(rows().indexOf(2)).toBe(1));
  items = [9, 1, 2, 3].map((id) => samples.row(id));
  await act(() => vi.advanceTimersByTimeAsync(5_100));
  await waitFor(() => expect(rows().indexOf(2)).toBe(2));
  expect(rows().indexOf(7)).toBeUndefined();
});

test("while another question is asked the old rows stay, and then they are gone", async () => {
  server.use(
    http.get(`${API}/instances`, ({ request }) =>
      HttpResponse.json(samples.page(new URL(request.url).searchParams.get("q") === "ORD" ? 1 : 501, 30, 30, null)),
    ),
  );
  const { to, seen, list: rows } = look();
  await seen(0);
  to(0, "other");
  expect(rows().row(0)?.id).toBe(1);
  await waitFor(() => expect(rows().row(0)?.id).toBe(501));
});
