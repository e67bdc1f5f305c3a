/**
 * Holds of streams, systems and connections, with the API behind.
 *
 * How a user would notice that they are fake: "SAP is down" is placed twice or not at all, a hold is not told where it
 * matters, or a failure to find out is taken for "nothing is held".
 */

import { screen, waitFor, within } from "@testing-library/react";
import userEvent, { type UserEvent } from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { queries } from "../app";
import type { HoldAsked } from "../api/schema";
import * as samples from "../testing/samples";
import { API, http, HttpResponse, refuse, server } from "../testing/server";
import { show } from "../testing/show";
import { unsay } from "../ui/told";

let user: UserEvent;
let sent: HoldAsked[];

beforeEach(() => {
  user = userEvent.setup();
  sent = [];
});
afterEach(() => {
  unsay();
  vi.restoreAllMocks();
});

function answers(...each: (() => Response)[]): void {
  server.use(
    http.post(`${API}/holds`, async ({ request }) => {
      sent.push((await request.json()) as HoldAsked);
      return each[Math.min(sent.length, each.length) - 1]!();
    }),
  );
}

const [sap, month] = samples.holds().items as [ReturnType<typeof samples.holds>["items"][0], ReturnType<typeof samples.holds>["items"][0]];
const problem = (status: number, detail: string) => HttpResponse.json({ type: "about:blank", title: "", status, detail }, { status });

test("what is held stands on the overview with who, why and until when, and a release only for who may", async () => {
  show("/plugin/streams");
  const [held, other] = within(await screen.findByRole("region", { name: "Held now" })).getAllByRole("row").slice(1);
  for (const text of ["SAP", sap.by, sap.reason, "137", "18:02"]) {
    expect(held!.textContent).toContain(text);
  }
  expect(within(held!).getByRole("button", { name: "Release SAP" })).toBeTruthy();
  expect(other!.textContent).toContain("somebody releases it");
  expect(within(other!).queryByRole("button")).toBeNull();
});

test("a stream tells the holds that concern it, and no others", async () => {
  show("/plugin/streams/stream/order_to_certificate");
  const list = await screen.findByRole("region", { name: "Held now" });
  expect(within(list).getByText(sap.reason)).toBeTruthy();
  expect(within(list).queryByText(month.reason)).toBeNull();
});

test("that nobody can tell what is held is told, and not taken for nothing", async () => {
  server.use(refuse("/holds", 422, "the Variable is no control record of version 1"));
  show("/plugin/streams");
  expect(await screen.findByText(/What is held cannot be told right now: the Variable is no control record of version 1/u)).toBeTruthy();
});

test("a system is held once, with a reason, although the answer was lost", async () => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  answers(
    () => HttpResponse.error(),
    () => HttpResponse.json(sap),
  );
  show("/plugin/streams");
  await user.click(await screen.findByRole("button", { name: "Hold …" }));
  const dialog = await screen.findByRole("dialog", { name: "Hold a stream, a system or a connection" });
  await user.click(within(dialog).getByRole("button", { name: "Hold" }));
  expect(await within(dialog).findByText("Choose what is to be held.")).toBeTruthy();
  expect(within(dialog).getByText(/^Say why/u)).toBeTruthy();
  expect(sent).toEqual([]);
  const { id, title } = samples.facets().systems[0]!;
  await user.selectOptions(within(dialog).getByRole("combobox", { name: "A kind of system" }), title);
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "it is patched");
  await user.click(within(dialog).getByRole("button", { name: "Hold" }));
  await user.click(await within(dialog).findByRole("button", { name: "Hold (ask again)" }));
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  expect(sent[0]).toEqual({ id: sent[0]!.id, scope: "system", name: id, reason: "it is patched", until: null });
  expect(sent[1]).toEqual(sent[0]);
  expect(await screen.findByText(/^SAP is held until .*: nothing of it begins\.$/u)).toBeTruthy();
});

test("on the page of a stream that stream is what is held, and a refusal is told in the server's words", async () => {
  answers(() => problem(403, "it concerns streams on which you may not act"));
  show("/plugin/streams/stream/order_to_certificate");
  await user.click(await screen.findByRole("button", { name: "Hold …" }));
  const dialog = await screen.findByRole("dialog");
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "the auditors look at it");
  await user.click(within(dialog).getByRole("button", { name: "Hold" }));
  expect(await within(dialog).findByText("it concerns streams on which you may not act")).toBeTruthy();
  expect(sent[0]).toMatchObject({ scope: "stream", name: "order_to_certificate" });
});

test("a hold is released with a reason", async () => {
  const released: object[] = [];
  server.use(
    http.post(`${API}/holds/:hold/release`, async ({ params, request }) => {
      released.push({ hold: params["hold"], ...((await request.json()) as object) });
      return HttpResponse.json(sap);
    }),
  );
  show("/plugin/streams");
  await user.click(await screen.findByRole("button", { name: "Release SAP" }));
  const dialog = await screen.findByRole("dialog", { name: "Release “SAP”" });
  expect(within(dialog).getByText(/^137 steps that wait/u)).toBeTruthy();
  await user.click(within(dialog).getByRole("button", { name: "Release" }));
  expect(await within(dialog).findByText(/^Say why/u)).toBeTruthy();
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "SAP is back");
  await user.click(within(dialog).getByRole("button", { name: "Release" }));
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  expect(released).toEqual([{ hold: "h1", id: expect.stringMatching(/^[\w-]{8,64}$/u), reason: "SAP is back" }]);
});

test.each(["/plugin/streams", "/plugin/streams/stream/order_to_certificate"])("who may only look is not asked to hold anything: %s", async (address) => {
  server.use(http.get(`${API}/me`, () => HttpResponse.json(samples.me(false))));
  show(address);
  await screen.findByRole("region", { name: "Held now" });
  await waitFor(() => expect(queries.isFetching()).toBe(0));
  expect(screen.queryByRole("button", { name: "Hold …" })).toBeNull();
});
