/** The pages as a user meets them: through the address, with the API behind. */

import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

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
  expect(asked[0]).toBe("?stream=a&stream=b&live=true&order=newest&cursor=&limit=200");
  expect(screen.getByRole("link", { name: "CSV" }).getAttribute("href")).toMatch(/instances\.csv\?live=true&stream=a&stream=b$/u);
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
  await user.keyboard("{Escape}");
  expect(screen.queryByRole("complementary", { name: "Post the invoice" })).toBeNull();
});

test("a decision is told with its values and the rule that fired", async () => {
  show("/plugin/streams/instance/order_to_certificate/manual__42?tab=decisions");
  expect(await screen.findByText(/a person releases the order/u)).toBeTruthy();
  expect(screen.getByText("18250.5")).toBeTruthy();
});

test("without enough history nothing is foretold", async () => {
  const row = samples.row(1, { forecast: { p50: null, p90: null, instances: 3, enough: false } });
  server.use(http.get(`${API}/instances`, () => HttpResponse.json({ as_of: samples.NOW, total: 1, items: [row], next_cursor: null })));
  show("/plugin/streams/instances");
  expect(await screen.findByText("not enough history")).toBeTruthy();
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

test("the audit says who had it otherwise, and why", async () => {
  show("/plugin/streams/audit");
  const line = (await screen.findByText("The customer has asked for the data centre.")).closest("tr")!;
  expect(line.textContent).toContain("m.keller");
  expect(line.textContent).toContain("provision_cloud");
});
