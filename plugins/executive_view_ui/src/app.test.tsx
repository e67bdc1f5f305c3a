/** The pages as a user meets them: through the address, with the API behind. */

import { act, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { InstanceRow } from "./api/schema";
import * as samples from "./testing/samples";
import { API, http, HttpResponse, refuse, server } from "./testing/server";
import { show } from "./testing/show";

beforeEach(() => globalThis.localStorage.setItem("timezone", '"UTC"'));
afterEach(() => vi.restoreAllMocks());

test("the overview says its sentence and its numbers, and each number leads to what it counts", async () => {
  show("/plugin/streams?domain=Claims");
  expect(await screen.findByText(samples.overview().sentence)).toBeTruthy();
  const late = screen.getByRole("link", { name: /^Late ?41/u });
  expect(late.getAttribute("href")).toBe("/plugin/streams/instances?domain=Claims&health=late&live=true");
});

test("a light says in words what its colour says", async () => {
  show("/plugin/streams");
  expect(await screen.findByRole("link", { name: /^SAP 22 ?: problem, 141 live, 22 late$/u })).toBeTruthy();
});

test("an error is never a zero", async () => {
  server.use(refuse("/overview", 400, "The filter is not one."));
  show("/plugin/streams");
  expect(await screen.findByText("The filter is not one.")).toBeTruthy();
  expect(screen.queryByText("0")).toBeNull();
  expect(screen.queryByText("Live")).toBeNull();
});

test("what may not be seen says so and shows nothing", async () => {
  server.use(refuse("/dags/:dag/dagRuns/:run", 403, "Forbidden"));
  show("/plugin/streams/instance/orders/run");
  expect(await screen.findByText("You may not see this")).toBeTruthy();
});

test("when the API goes away the last data stays, and says that it is old", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  show("/plugin/streams");
  await screen.findByText(samples.overview().sentence);
  server.use(http.get(`${API}/overview`, () => HttpResponse.error()));
  await vi.advanceTimersByTimeAsync(6_000);
  expect(await screen.findByText(/no answer, retrying/u)).toBeTruthy();
  expect(screen.getByText(samples.overview().sentence)).toBeTruthy();
  vi.useRealTimers();
});

test("data that did not change says of which moment it is still true", async () => {
  server.use(http.get(`${API}/overview`, () => HttpResponse.json(samples.overview(), { headers: { "X-As-Of": "2026-03-10T14:09:31Z" } })));
  show("/plugin/streams");
  expect(await screen.findByText("as of 14:09:31")).toBeTruthy();
});

test("data that is older than it should be says so", async () => {
  server.use(http.get(`${API}/overview`, () => HttpResponse.json(samples.overview({ stale: true }))));
  show("/plugin/streams");
  expect(await screen.findByText(/older than it should be/u)).toBeTruthy();
});

test("an empty overview tells a filter that hides from a house without streams", async () => {
  server.use(http.get(`${API}/overview`, () => HttpResponse.json(samples.overview({ streams: [] }))));
  const { unmount } = show("/plugin/streams?owner=nobody");
  expect(await screen.findByText("No stream is like that")).toBeTruthy();
  unmount();
  show("/plugin/streams");
  expect(await screen.findByText("There is no stream yet")).toBeTruthy();
});

test("the list asks for exactly what the address says, and its CSV is of the same", async () => {
  const asked: string[] = [];
  server.use(
    http.get(`${API}/instances`, ({ request }) => {
      asked.push(new URL(request.url).search);
      return HttpResponse.json(samples.page(1, 3, 3, null));
    }),
  );
  show("/plugin/streams/instances?stream=a&stream=b&live=true&order=newest");
  expect(await screen.findByText("ORD-000001")).toBeTruthy();
  expect(asked[0]).toBe("?stream=a&stream=b&live=true&order=newest&limit=100");
  expect(screen.getByRole("link", { name: "CSV" }).getAttribute("href")).toMatch(/instances\.csv\?live=true&stream=a&stream=b$/u);
});

test("parked steps are found by a filter, a view, and the note of the overview", async () => {
  const user = userEvent.setup();
  const { unmount } = show("/plugin/streams");
  expect((await screen.findByRole("link", { name: "2 parked" })).getAttribute("href")).toBe("/plugin/streams/instances?live=true&parked=true");
  unmount();
  show("/plugin/streams/instances");
  expect((await screen.findByRole("link", { name: "Parked" })).getAttribute("href")).toBe("/plugin/streams/instances?live=true&parked=true");
  await user.click(screen.getByRole("button", { name: "Parked" }));
  await waitFor(() => expect(screen.getByTestId("address").textContent).toBe("/plugin/streams/instances?parked=true"));
  await user.click(screen.getByRole("button", { name: "Parked", pressed: true }));
  await waitFor(() => expect(screen.getByTestId("address").textContent).toBe("/plugin/streams/instances"));
});

test("an empty list names the filter that hides", async () => {
  server.use(http.get(`${API}/instances`, () => HttpResponse.json(samples.page(1, 0, 0, null))));
  show("/plugin/streams/instances?q=NOPE");
  expect(await screen.findByText("Hidden by: key “NOPE”.")).toBeTruthy();
});

test("a filter that is chosen is in the address", async () => {
  const user = userEvent.setup();
  show("/plugin/streams/instances");
  await screen.findByText("ORD-000001");
  await user.click(screen.getByRole("button", { name: "Health" }));
  await user.click(screen.getByRole("checkbox", { name: "Late" }));
  await waitFor(() => expect(screen.getByTestId("address").textContent).toBe("/plugin/streams/instances?health=late"));
  await user.keyboard("{Escape}");
  expect(screen.queryByRole("checkbox", { name: "Late" })).toBeNull();
});

test("a view can be saved, found again and forgotten", async () => {
  const user = userEvent.setup();
  show("/plugin/streams/instances?q=ORD");
  await user.click(await screen.findByRole("button", { name: /Save this view/u }));
  await user.type(screen.getByRole("textbox", { name: "Name of the view" }), "My orders{Enter}");
  expect(screen.getByRole("link", { name: "My orders" }).getAttribute("href")).toBe("/plugin/streams/instances?q=ORD");
  await user.click(screen.getByRole("button", { name: "Forget the view My orders" }));
  expect(screen.queryByRole("link", { name: "My orders" })).toBeNull();
});

test("the keyboard alone leads through the list into an instance", async () => {
  const user = userEvent.setup();
  show("/plugin/streams/instances");
  const grid = await screen.findByRole("grid");
  grid.focus();
  await user.keyboard("jjk{Enter}");
  await waitFor(() => expect(screen.getByTestId("address").textContent).toBe("/plugin/streams/instance/order_to_certificate/manual__2"));
});

test("an instance tells why it is late, down to what can be done about it", async () => {
  show("/plugin/streams/instance/order_to_certificate/manual__42");
  const why = await screen.findByRole("region", { name: "Why" });
  const links = within(why).getAllByRole("listitem");
  expect(links).toHaveLength(4);
  expect(links.at(-1)!.textContent).toContain("11 other instances wait for the same");
});

test("the graph says of every step what it is and how it went", async () => {
  show("/plugin/streams/instance/order_to_certificate/manual__42");
  const step = await screen.findByRole("button", { name: /Post the invoice/u });
  expect(step.textContent).toContain("Running");
  expect(step.textContent).toContain("late");
  expect(step.textContent).toContain("try 2");
  expect(screen.getByRole("button", { name: /Provision with the partner/u }).textContent).toContain("Not taken");
});

test("a step opens with its remote job and the end of its log, and its address can be sent", async () => {
  const user = userEvent.setup();
  show("/plugin/streams/instance/order_to_certificate/manual__42");
  await user.click(await screen.findByRole("button", { name: /Post the invoice/u }));
  expect(screen.getByTestId("address").textContent).toContain("step=post_invoice");
  const panel = screen.getByRole("complementary", { name: "Post the invoice" });
  expect(within(panel).getByText("00420117")).toBeTruthy();
  expect((await within(panel).findByLabelText("Log")).textContent).toContain("waits for a free background process");
  within(panel).getByLabelText("Log").focus();
  await user.keyboard("{Escape}");
  expect(screen.queryByRole("complementary", { name: "Post the invoice" })).toBeNull();
  expect(document.activeElement?.getAttribute("data-step"), "the focus is where it was before the step was opened").toBe("post_invoice");
});

test("a branch tells beside the graph which rule fired and by which values, and so do the steps that it is about", async () => {
  const user = userEvent.setup();
  show("/plugin/streams/instance/order_to_certificate/manual__42?step=route");
  const branch = await screen.findByRole("complementary", { name: "How is it provided?" });
  const [fired, not] = within(branch).getAllByRole("listitem");
  expect(fired!.textContent).toContain("fired, leads to Release a large order");
  expect(not!.textContent).toContain("did not fire, would lead to Provision with the partner");
  expect(within(branch).getByText("18250.5")).toBeTruthy();
  await user.click(screen.getByRole("button", { name: /Provision with the partner/u }));
  const passed = screen.getByRole("complementary", { name: "Provision with the partner" });
  expect(within(passed).getByRole("heading", { name: "Not taken by “How is it provided?”" })).toBeTruthy();
});

test("each way out of a branch says in the graph what it was decided by", async () => {
  show("/plugin/streams/instance/order_to_certificate/manual__42");
  expect((await screen.findByText("amount 18250.5, credit class B")).parentElement!.title).toBe("amount > 10000.0 · fired · amount 18250.5, credit class B");
  expect(screen.getByText("region north").parentElement!.title).toContain("did not fire");
});

test("a decision is told with its values and the rule that fired", async () => {
  show("/plugin/streams/instance/order_to_certificate/manual__42?tab=decisions");
  expect(await screen.findByText(/a person releases the order/u)).toBeTruthy();
  expect(screen.getByText("18250.5")).toBeTruthy();
});

test("what a branch only proposes is told as such, with the moment until which it can be overridden", async () => {
  const told = samples.instance();
  const decisions = told.decisions.map((one) => ({ ...one, open_until: samples.at(60) }));
  server.use(http.get(`${API}/dags/order_to_certificate/dagRuns/manual__42`, () => HttpResponse.json({ ...told, decisions })));
  show("/plugin/streams/instance/order_to_certificate/manual__42?tab=decisions");
  expect(await screen.findByText(/Only proposed: it goes on at .*, unless somebody overrides it before/u)).toBeTruthy();
});

const onlyRow = (changes: Partial<InstanceRow>) =>
  http.get(`${API}/instances`, () => HttpResponse.json({ as_of: samples.NOW, total: 1, items: [samples.row(1, changes)], next_cursor: null }));

test("without enough history nothing is foretold", async () => {
  server.use(onlyRow({ forecast: { p50: null, p90: null, instances: 3, enough: false } }));
  show("/plugin/streams/instances");
  expect(await screen.findByText("not enough history")).toBeTruthy();
  expect(screen.getByText("only 3 instances")).toBeTruthy();
});

test("a forecast says from how many instances it is told, in the list and at the head of an instance", async () => {
  server.use(onlyRow({}));
  const { unmount } = show("/plugin/streams/instances");
  expect(await screen.findByText("from 187 instances")).toBeTruthy();
  unmount();
  show("/plugin/streams/instance/order_to_certificate/manual__42");
  expect(await screen.findByText("from 187 instances")).toBeTruthy();
});

test("where nobody knows how long a wait is, a forecast is a not before", async () => {
  server.use(onlyRow({ waits_for: "hold" }));
  const { unmount } = show("/plugin/streams/instances");
  expect((await screen.findByText("from 187 instances")).closest("[role=gridcell]")!.textContent).toContain("not before");
  unmount();
  const parked = { ...samples.instance().instance, parked: true };
  server.use(http.get(`${API}/dags/:dag/dagRuns/:run`, () => HttpResponse.json(samples.instance({ instance: parked }))));
  show("/plugin/streams/instance/order_to_certificate/manual__42");
  expect(await screen.findByText("the answer that it waits for counts as if it came at once")).toBeTruthy();
});

test("a word from a newer server is shown, not swallowed", async () => {
  const row = { ...samples.row(1), health: "thinking_hard" };
  server.use(http.get(`${API}/instances`, () => HttpResponse.json({ as_of: samples.NOW, total: 1, items: [row], next_cursor: null })));
  show("/plugin/streams/instances");
  expect(await screen.findByText("Thinking hard")).toBeTruthy();
});

test("a page that throws leaves the way to the others open", async () => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  server.use(http.get(`${API}/overview`, () => HttpResponse.json({ ...samples.overview(), counts: null })));
  show("/plugin/streams");
  expect((await screen.findByRole("alert")).textContent).toContain("The rest of Airflow is not affected");
  expect(screen.getByRole("link", { name: "Instances" })).toBeTruthy();
});

test("the statistics name the bottleneck, the versions their differences, the calendar a tight run", async () => {
  const user = userEvent.setup();
  show("/plugin/streams/stream/order_to_certificate?tab=statistics");
  expect(await screen.findByText("Bottleneck")).toBeTruthy();
  await user.click(screen.getByRole("tab", { name: "Versions" }));
  expect(await screen.findByText("DAILY became DAILY2")).toBeTruthy();
  await user.keyboard("{ArrowRight}");
  expect(await screen.findByText("tight")).toBeTruthy();
});

test("the choreography says from how many instances its shares are told", async () => {
  show("/plugin/streams/stream/order_to_certificate");
  expect(await screen.findByText(/told from the newest 500 of 9,214 instances that ended, of the last 30 days/u)).toBeTruthy();
});

test("the audit can be filtered by the kinds that the server writes, and by no others", async () => {
  const user = userEvent.setup();
  server.use(http.get(`${API}/facets`, () => HttpResponse.json({ ...samples.facets(), kinds: ["decision", "hold", "thought_about"] })));
  show("/plugin/streams/audit");
  await user.click(await screen.findByRole("button", { name: "Kind" }));
  expect(screen.getAllByRole("checkbox").map((box) => box.closest("label")!.textContent)).toEqual(["Decision", "Hold", "Thought about"]);
});

test("what somebody asked for of the past of the audit stays while new events come", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  const user = userEvent.setup({ advanceTimers: vi.advanceTimersByTime });
  const event = (id: number) => ({ ...samples.events().items[0]!, id, reason: `event ${id}` });
  let newest = 9;
  server.use(
    http.get(`${API}/events`, ({ request }) => {
      const cursor = Number(new URL(request.url).searchParams.get("cursor") ?? newest + 1);
      const items = [1, 2, 3].map((back) => event(cursor - back)).filter(({ id }) => id > 0);
      const last = items.at(-1)!.id;
      return HttpResponse.json({ as_of: samples.NOW, total: newest, items, next_cursor: last > 1 ? String(last) : null });
    }),
  );
  show("/plugin/streams/audit");
  await screen.findByText("event 9");
  const told = () => screen.getAllByText(/^event \d+$/u).map((line) => Number(line.textContent.replace("event ", "")));
  await user.click(screen.getByRole("button", { name: "Show more" }));
  await screen.findByText("event 4");
  newest = 11;
  await act(() => vi.advanceTimersByTimeAsync(10_100));
  await screen.findByText("event 11");
  expect(told()).toEqual([11, 10, 9, 8, 7, 6, 5, 4]);
  await user.click(screen.getByRole("button", { name: "Show more" }));
  await screen.findByText("event 1");
  expect(told()).toEqual([11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
  expect(screen.queryByRole("button", { name: "Show more" })).toBeNull();
  // More came at once than a page holds: what is missing in between is not passed over.
  newest = 20;
  await act(() => vi.advanceTimersByTimeAsync(10_100));
  await screen.findByText("event 20");
  await waitFor(() => expect(told()).toEqual([20, 19, 18]));
  vi.useRealTimers();
});

test("the audit says who had it otherwise, and why, with the steps by their titles", async () => {
  show("/plugin/streams/audit");
  const line = (await screen.findByText("The customer has asked for the data centre.")).closest("tr")!;
  expect(line.textContent).toContain("m.keller");
  await waitFor(() => expect(line.textContent).toContain("Provision with the partner → Provision in the data centre"));
});

test("the audit tells an action in the server's words and an end in ours, and neither as data", async () => {
  const event = samples.events().items[0]!;
  const asked = { sentence: "“Post the invoice” is held: it takes no worker.", asked: { action: "hold" }, effects: [{ step: null }] };
  const items = [
    { ...event, id: 9, kind: "hold", before: { chosen: [] }, after: asked },
    { ...event, id: 8, kind: "ended", before: null, after: { state: "success", health: "late" } },
    { ...event, id: 7, kind: "ended", before: null, after: { state: "failed", health: "failed" } },
  ];
  server.use(http.get(`${API}/events`, () => HttpResponse.json({ ...samples.events(), items })));
  show("/plugin/streams/audit");
  const rows = within(await screen.findByRole("region", { name: "Events" })).getAllByRole("row").slice(1);
  expect(rows.map((row) => row.lastElementChild!.textContent)).toEqual([asked.sentence, "Done, late", "Failed"]);
});
