/**
 * The same action on many instances of the list, with the API behind.
 *
 * How a user would notice that it is fake: more is done than was selected, it is counted wrongly or not at all, it is begun
 * twice, the bar stands still, or what was refused is not told.
 */

import { screen, waitFor, within } from "@testing-library/react";
import userEvent, { type UserEvent } from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { queries } from "../app";
import type { BulkAsked } from "../api/schema";
import * as samples from "../testing/samples";
import { API, http, HttpResponse, server } from "../testing/server";
import { show } from "../testing/show";

const LIST = "/plugin/streams/instances?live=true&stream=order_to_certificate";

let user: UserEvent;
let counted: BulkAsked[];
let sent: BulkAsked[];

beforeEach(() => {
  user = userEvent.setup();
  [counted, sent] = [[], []];
  begins(() => HttpResponse.json(samples.bulk()));
});
afterEach(() => vi.restoreAllMocks());

/** What the server says when it is to begin, each time; it counts what was asked for by number as that many. */
function begins(...each: (() => Response)[]): void {
  server.use(
    http.post(`${API}/bulk`, async ({ request }) => {
      const asked = (await request.json()) as BulkAsked;
      if (asked.dry_run) {
        counted.push(asked);
        const many = asked.filter.id?.length;
        return HttpResponse.json({ ...samples.bulk("dry_run"), ...(many ? { matching: many, may_act: many, total: many } : {}) });
      }
      sent.push(asked);
      return each[Math.min(sent.length, each.length) - 1]!();
    }),
  );
}

async function grid(): Promise<HTMLElement> {
  const found = await screen.findByRole("grid");
  await within(found).findAllByRole("checkbox");
  return found;
}

test("those that are selected are counted by the server, confirmed, and asked for by their numbers", async () => {
  show(LIST);
  (await grid()).focus();
  await user.keyboard("jxjxh");
  const dialog = await screen.findByRole("dialog", { name: "Hold: many instances" });
  const ids = samples.page(1, 3, 3, null).items.slice(1).map(({ id }) => id);
  expect(await within(dialog).findByText("It concerns 2 instances.")).toBeTruthy();
  expect(counted.at(-1)).toMatchObject({ filter: { id: ids }, action: { action: "hold", step: null }, dry_run: true });
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "it is patched");
  await user.click(within(dialog).getByRole("button", { name: "Hold: 2" }));
  expect(await within(dialog).findByText("To be confirmed.")).toBeTruthy();
  expect(sent).toEqual([]);
  await user.click(within(dialog).getByRole("checkbox", { name: "Yes, hold: 2 instances" }));
  await user.click(within(dialog).getByRole("button", { name: "Hold: 2" }));
  const progress = await screen.findByRole("dialog", { name: "Hold: 52 instances" });
  expect(sent).toEqual([{ id: sent[0]!.id, filter: { id: ids }, action: { action: "hold", step: null, reason: "it is patched" }, dry_run: false }]);
  expect((await within(progress).findByRole("progressbar")).getAttribute("aria-valuenow")).toBe("33");
  expect(screen.getByTestId("address").textContent).toContain("bulk=b1");
});

test("all that fit the filter are counted first, and those on which one may not act are told", async () => {
  show(LIST);
  await user.click(await screen.findByRole("button", { name: "Act on all 50 …" }));
  const dialog = await screen.findByRole("dialog");
  expect(await within(dialog).findByText("It concerns 57 instances; you may act on 52 of them, and the others are left alone.")).toBeTruthy();
  await user.selectOptions(within(dialog).getByRole("combobox", { name: "What" }), "Acknowledge");
  await user.click(await within(dialog).findByRole("checkbox", { name: "Yes, acknowledge: 52 instances" }));
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "all known");
  await user.click(within(dialog).getByRole("button", { name: "Acknowledge: 52" }));
  await waitFor(() => expect(sent).toHaveLength(1));
  expect(sent[0]).toMatchObject({ filter: { live: true, stream: ["order_to_certificate"] }, action: { action: "acknowledge", reason: "all known" } });
});

test("of one stream a single step can be meant, and what is confirmed is confirmed of that", async () => {
  show(LIST);
  await user.click(await screen.findByRole("button", { name: "Act on all 50 …" }));
  const dialog = await screen.findByRole("dialog");
  await user.click(await within(dialog).findByRole("checkbox", { name: /^Yes, hold/u }));
  await user.selectOptions(await within(dialog).findByRole("combobox", { name: "Of" }), "Post the invoice");
  const sure = await within(dialog).findByRole<HTMLInputElement>("checkbox", { name: /^Yes, hold/u });
  expect(sure.checked).toBe(false);
  await waitFor(() => expect(counted.at(-1)!.action.step).toBe("post_invoice"));
});

test("a lost answer is asked for again under the same id", async () => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  begins(
    () => HttpResponse.error(),
    () => HttpResponse.json(samples.bulk()),
  );
  show(LIST);
  await user.click(within(await grid()).getAllByRole("checkbox")[0]!);
  await user.click(screen.getByRole("button", { name: /^Cancel/u }));
  const dialog = await screen.findByRole("dialog");
  await within(dialog).findByText("It concerns 1 instance.");
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "the order is void");
  await user.click(within(dialog).getByRole("button", { name: "Cancel the work: 1" }));
  await user.click(await within(dialog).findByRole("button", { name: "Cancel the work: 1 (ask again)" }));
  await screen.findByRole("progressbar");
  expect(sent).toHaveLength(2);
  expect(sent[1]).toEqual(sent[0]);
});

test("how far it is, and what was refused and why, is found again by the address", async () => {
  show(`${LIST}&bulk=b1`);
  const dialog = await screen.findByRole("dialog", { name: "Hold: 52 instances" });
  const bar = await within(dialog).findByRole("progressbar");
  expect(bar.getAttribute("aria-valuetext")).toBe("33 of 52");
  const rows = within(await within(dialog).findByRole("region", { name: "What became of each" })).getAllByRole("row");
  expect(rows[4]!.textContent).toContain("Refused");
  expect(rows[4]!.textContent).toContain("every step has begun or is over");
  expect(rows.at(-1)!.textContent).toContain("To come");
  const results = samples.bulkResults();
  server.use(
    http.get(`${API}/bulk/:bulk`, () => HttpResponse.json(samples.bulk("done"))),
    http.get(`${API}/bulk/:bulk/results`, () => HttpResponse.json({ ...results, items: results.items.map((item) => ({ ...item, outcome: "done" })) })),
  );
  await waitFor(() => expect(bar.getAttribute("aria-valuetext")).toBe("52 of 52, all through"));
  await waitFor(() => expect(within(dialog).queryByText("To come")).toBeNull());
  await user.keyboard("{Escape}");
  expect(screen.queryByRole("dialog")).toBeNull();
  expect(screen.getByTestId("address").textContent).not.toContain("bulk=");
});

test("it is stopped with a reason, and what was done stays", async () => {
  const stopped: object[] = [];
  server.use(
    http.post(`${API}/bulk/:bulk/stop`, async ({ params, request }) => {
      stopped.push({ bulk: params["bulk"], ...((await request.json()) as object) });
      server.use(http.get(`${API}/bulk/:bulk`, () => HttpResponse.json(samples.bulk("stopped"))));
      return HttpResponse.json(samples.bulk("stopped"));
    }),
  );
  show(`${LIST}&bulk=b1`);
  const dialog = await screen.findByRole("dialog");
  await user.click(await within(dialog).findByRole("button", { name: "Stop …" }));
  await user.click(within(dialog).getByRole("button", { name: "Stop it" }));
  expect(await within(dialog).findByText(/^Say why/u)).toBeTruthy();
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "wrong filter");
  await user.click(within(dialog).getByRole("button", { name: "Stop it" }));
  expect(await within(dialog).findAllByText(/33 of 52, stopped: what was done stays/u)).toBeTruthy();
  expect(stopped).toEqual([{ bulk: "b1", id: expect.stringMatching(/^[\w-]{8,64}$/u), reason: "wrong filter" }]);
});

test("what is under way is told on the list", async () => {
  server.use(http.get(`${API}/bulk`, () => HttpResponse.json(samples.bulks([samples.bulk(), samples.bulk("done")]))));
  show(LIST);
  await user.click(await screen.findByRole("button", { name: "Hold by m.keller: 33 of 52" }));
  expect(await screen.findByRole("dialog", { name: "Hold: 52 instances" })).toBeTruthy();
});

test("another filter begins with nothing selected", async () => {
  show(LIST);
  await user.click(within(await grid()).getAllByRole("checkbox")[0]!);
  expect(screen.getByText("1 selected")).toBeTruthy();
  await user.click(screen.getByRole("link", { name: "Late" }));
  await screen.findByRole("button", { name: /^Act on all/u });
  expect(screen.queryByText("1 selected")).toBeNull();
});

test("who may only look can select nothing, by the keys neither", async () => {
  server.use(http.get(`${API}/me`, () => HttpResponse.json(samples.me(false))));
  show(LIST);
  const list = await screen.findByRole("grid");
  await within(list).findByText("ORD-000001");
  await waitFor(() => expect(queries.isFetching()).toBe(0));
  list.focus();
  await user.keyboard("xh");
  expect(screen.queryByRole("dialog")).toBeNull();
  expect(within(list).queryByRole("checkbox")).toBeNull();
  expect(screen.queryByRole("group", { name: "Act on many" })).toBeNull();
});
