/**
 * The dialogs in which people act, with the API behind.
 *
 * How a user would notice that they are fake: they promise what the server does not do, act twice, act on what has changed
 * since, swallow a refusal, or offer what would be refused.
 */

import { screen, waitFor, within } from "@testing-library/react";
import userEvent, { type UserEvent } from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { queries } from "../app";
import type { ActionRequest } from "../api/schema";
import * as samples from "../testing/samples";
import { API, http, HttpResponse, refuse, server } from "../testing/server";
import { show } from "../testing/show";
import { unsay } from "../ui/told";

const INSTANCE = "/plugin/streams/instance/order_to_certificate/manual__42";
const ACTIONS = `${API}/dags/:dag/dagRuns/:run/actions`;

let user: UserEvent;
let sent: ActionRequest[];
let previewed: ActionRequest[];

beforeEach(() => {
  user = userEvent.setup();
  sent = [];
  previewed = [];
  answers(() => HttpResponse.json(samples.done("cancel", "“Post the invoice” is cancelled, and fails.")));
  foresees(({ action }) => samples.previews()[action]!);
});
afterEach(() => {
  unsay();
  vi.restoreAllMocks();
});

/** What the server says to an action, each time that it is asked. */
function answers(...each: (() => Response)[]): void {
  server.use(
    http.post(ACTIONS, async ({ request }) => {
      sent.push((await request.json()) as ActionRequest);
      return each[Math.min(sent.length, each.length) - 1]!();
    }),
  );
}

function foresees(make: (asked: ActionRequest) => object): void {
  server.use(
    http.post(`${ACTIONS}/preview`, async ({ request }) => {
      const asked = (await request.json()) as ActionRequest;
      previewed.push(asked);
      return HttpResponse.json(make(asked));
    }),
  );
}

const problem = (status: number, detail: string) => HttpResponse.json({ type: "about:blank", title: "", status, detail }, { status });

async function open(step: string, button: string): Promise<HTMLElement> {
  show(`${INSTANCE}?step=${step}`);
  await user.click(await within(await screen.findByRole("complementary")).findByRole("button", { name: button }));
  return screen.findByRole("dialog");
}

/** The dialog that cancels a step, with all that it asks for given. */
async function readyToCancel(): Promise<{ dialog: HTMLElement; press: (name?: string) => Promise<void> }> {
  const dialog = await open("post_invoice", "Cancel");
  await user.click(await within(dialog).findByRole("checkbox", { name: /booking of the order is undone/u }));
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "it posts twice");
  return { dialog, press: async (name = "Cancel the work") => user.click(await within(dialog).findByRole("button", { name })) };
}

test("a dialog says what would happen in the server's words, before anything is done", async () => {
  const dialog = await open("post_invoice", "Cancel");
  const { sentence, effects, cannot_be_undone: stays, compensations } = samples.previews()["cancel"]!;
  expect(await within(dialog).findByText(sentence)).toBeTruthy();
  for (const text of [effects[0]!.text, stays[0]!, compensations[0]!]) {
    expect(within(dialog).getByText(text)).toBeTruthy();
  }
  expect(within(dialog).getByRole("heading", { name: "Cannot be undone" })).toBeTruthy();
  expect(previewed[0]).toMatchObject({ action: "cancel", step: "post_invoice" });
  expect(sent).toEqual([]);
});

test("nothing is sent without a reason, and the keyboard is led to where it is missing", async () => {
  const dialog = await open("post_invoice", "Cancel");
  await user.click(await within(dialog).findByRole("checkbox", { name: /booking of the order is undone/u }));
  await user.click(within(dialog).getByRole("button", { name: "Cancel the work" }));
  const reason = within(dialog).getByRole("textbox", { name: "Reason" });
  expect(await within(dialog).findByText(/^Say why/u)).toBeTruthy();
  await waitFor(() => expect(document.activeElement).toBe(reason));
  expect(reason.getAttribute("aria-invalid")).toBe("true");
  await user.type(reason, "  x ");
  await user.click(within(dialog).getByRole("button", { name: "Cancel the work" }));
  expect(sent).toEqual([]);
  expect(screen.getByRole("dialog")).toBeTruthy();
});

test("what the server wants to have confirmed is confirmed by name, and sent", async () => {
  const dialog = await open("post_invoice", "Cancel");
  await within(dialog).findByRole("checkbox", { name: /booking of the order is undone/u });
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "it posts twice");
  await user.click(within(dialog).getByRole("button", { name: "Cancel the work" }));
  expect(await within(dialog).findByText("To be confirmed.")).toBeTruthy();
  expect(sent).toEqual([]);
  await user.click(within(dialog).getByRole("checkbox", { name: /booking of the order is undone/u }));
  await user.click(within(dialog).getByRole("button", { name: "Cancel the work" }));
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  expect(sent).toEqual([
    { action: "cancel", step: "post_invoice", reason: "it posts twice", confirm: ["undo:book_order"], version: "v1", id: sent[0]!.id },
  ]);
  expect(sent[0]!.id).toMatch(/^[\w-]{8,64}$/u);
  expect(await screen.findByText("“Post the invoice” is cancelled, and fails.")).toBeTruthy();
});

test("however often one presses, it is sent once", async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  server.use(
    http.post(ACTIONS, async ({ request }) => {
      sent.push((await request.json()) as ActionRequest);
      await held;
      return HttpResponse.json(samples.done());
    }),
  );
  const { press } = await readyToCancel();
  await press();
  await press("Being done …");
  await user.keyboard("{Control>}{Enter}{/Control}");
  release();
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  expect(sent).toHaveLength(1);
});

test("where no answer came the same is asked under the same id, even if it was done meanwhile", async () => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  answers(
    () => {
      // It was done; only the answer is lost. From now on the server refuses another one like it.
      foresees(() => ({ ...samples.previews()["cancel"]!, allowed: false, refusals: ["“Post the invoice” is cancelled already"], confirmations: [] }));
      return HttpResponse.error();
    },
    () => problem(502, "Bad gateway"),
    () => HttpResponse.json({ ...samples.done("cancel", "“Post the invoice” is cancelled, and fails."), replayed: true }),
  );
  const { dialog, press } = await readyToCancel();
  await press();
  expect(await within(dialog).findByText(/nobody knows whether it was done/u)).toBeTruthy();
  await press("Cancel the work (ask again)");
  await waitFor(() => expect(sent).toHaveLength(2));
  await press("Cancel the work (ask again)");
  expect(await screen.findByText(/^It had been done already, and was not done a second time/u)).toBeTruthy();
  expect(sent[1]).toEqual(sent[0]);
  expect(sent[2]).toEqual(sent[0]);
});

test("another wish goes under another id", async () => {
  answers(() => problem(422, "not like this"), () => HttpResponse.json(samples.done()));
  const { dialog, press } = await readyToCancel();
  await press();
  expect(await within(dialog).findByText("not like this")).toBeTruthy();
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), ", says the customer");
  expect(within(dialog).queryByText("not like this")).toBeNull();
  await press();
  await waitFor(() => expect(sent).toHaveLength(2));
  expect(sent[1]!.id).not.toBe(sent[0]!.id);
  expect(sent[1]!.reason).toBe("it posts twice, says the customer");
});

test("where somebody was faster one sees how it is now, and decides again on that", async () => {
  answers(
    () => {
      foresees(() => ({ ...samples.previews()["cancel"]!, version: "v2", sentence: "“Post the invoice” is cancelled before its job begins." }));
      return problem(409, "ORD-000042 has changed since you looked: look again, then decide");
    },
    () => HttpResponse.json(samples.done()),
  );
  const { dialog, press } = await readyToCancel();
  await press();
  expect(await within(dialog).findByText(/Somebody was faster: ORD-000042 has changed since you looked/u)).toBeTruthy();
  expect(await within(dialog).findByText("“Post the invoice” is cancelled before its job begins.")).toBeTruthy();
  expect(within(dialog).queryByText(samples.previews()["cancel"]!.sentence)).toBeNull();
  const confirm = within(dialog).getByRole<HTMLInputElement>("checkbox", { name: /booking of the order is undone/u });
  expect(confirm.checked, "what was confirmed of how it was is not confirmed of how it is").toBe(false);
  expect(within(dialog).getByRole<HTMLTextAreaElement>("textbox", { name: "Reason" }).value).toBe("it posts twice");
  await user.click(confirm);
  await press();
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  expect(sent.map(({ version }) => version)).toEqual(["v1", "v2"]);
});

test("a refusal is told in the server's words, and nothing that was typed is lost", async () => {
  answers(() => problem(403, "you may see 'orders', and not act on it: ask an administrator of Airflow"));
  const { dialog, press } = await readyToCancel();
  await press();
  const alert = await within(dialog).findByText("you may see 'orders', and not act on it: ask an administrator of Airflow");
  expect(alert.closest("[role=alert]")).toBeTruthy();
  expect(within(dialog).getByRole<HTMLTextAreaElement>("textbox", { name: "Reason" }).value).toBe("it posts twice");
});

test("what cannot be done as it is now says why, and cannot be sent", async () => {
  foresees(() => ({ ...samples.previews()["skip"]!, allowed: false, refusals: ["“Post the invoice” is done: restart it instead"], effects: [] }));
  const dialog = await open("post_invoice", "Skip");
  expect(await within(dialog).findByText("“Post the invoice” is done: restart it instead")).toBeTruthy();
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "not needed");
  const button = within(dialog).getByRole("button", { name: "Skip" });
  expect(button.getAttribute("aria-disabled")).toBe("true");
  await user.click(button);
  await user.keyboard("{Control>}{Enter}{/Control}");
  expect(sent).toEqual([]);
});

test("where the server does not say what would happen, nothing can be done blindly", async () => {
  server.use(http.post(`${ACTIONS}/preview`, () => problem(404, "there is no such instance any more")));
  const dialog = await open("post_invoice", "Skip");
  expect(await within(dialog).findByText("there is no such instance any more")).toBeTruthy();
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "not needed");
  await user.click(within(dialog).getByRole("button", { name: "Skip" }));
  expect(sent).toEqual([]);
  foresees(({ action }) => samples.previews()[action]!);
  await user.click(within(dialog).getByRole("button", { name: "Ask again" }));
  expect(await within(dialog).findByText(samples.previews()["skip"]!.sentence)).toBeTruthy();
});

test("what a step gives is asked for by name and sent as its type says", async () => {
  const dialog = await open("post_invoice", "Complete by hand");
  expect(within(dialog).getByText("It is told here once the fields above are filled in.")).toBeTruthy();
  await user.type(within(dialog).getByRole("textbox", { name: "document" }), "0042");
  await user.type(within(dialog).getByRole("textbox", { name: "lines" }), "four");
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "posted by hand");
  await user.click(within(dialog).getByRole("button", { name: "Complete by hand" }));
  expect(await within(dialog).findByText("A whole number.")).toBeTruthy();
  expect([sent, previewed]).toEqual([[], []]);
  await user.clear(within(dialog).getByRole("textbox", { name: "lines" }));
  await user.type(within(dialog).getByRole("textbox", { name: "lines" }), "4");
  await within(dialog).findByText(samples.previews()["complete"]!.sentence);
  await user.click(within(dialog).getByRole("button", { name: "Complete by hand" }));
  await waitFor(() => expect(sent).toHaveLength(1));
  expect(sent[0]).toMatchObject({ action: "complete", step: "post_invoice", outputs: { document: "0042", lines: 4 } });
});

test("another way is chosen among those that there are, and shown before it is taken", async () => {
  const dialog = await open("route", "Override");
  await user.click(within(dialog).getByRole("checkbox", { name: "Provision with the partner" }));
  expect(await within(dialog).findByText(/instead, after the fact; only what is gained runs/u)).toBeTruthy();
  expect(previewed.at(-1)).toMatchObject({ action: "override", step: "route", targets: ["provision_cloud"] });
});

test("a hold ends at the moment that was chosen", async () => {
  const dialog = await open("provision", "Hold");
  await user.click(within(dialog).getByRole("radio", { name: /a moment/u }));
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "patched tonight");
  await user.click(within(dialog).getByRole("button", { name: "Hold" }));
  expect(await within(dialog).findByText(/^Say until when/u)).toBeTruthy();
  expect(sent).toEqual([]);
  await user.click(within(dialog).getByRole("button", { name: "next 06:00" }));
  await within(dialog).findByText(samples.previews()["hold"]!.sentence);
  await user.click(within(dialog).getByRole("button", { name: "Hold" }));
  await waitFor(() => expect(sent).toHaveLength(1));
  expect(sent[0]!.until).toMatch(/^\d{4}-\d\d-\d\dT06:00:00Z$/u);
});

test("the instance as a whole has its own dialogs, and what cannot be done says why", async () => {
  show(INSTANCE);
  const head = await screen.findByRole("group", { name: "Actions" });
  await user.click(within(head).getByRole("button", { name: "More" }));
  const menu = await within(head).findByRole("menu", { name: "More actions" });
  expect(within(menu).getByRole("menuitem", { name: /^Retry/u }).textContent).toContain("no step of ORD-000042 failed");
  await user.click(within(menu).getByRole("menuitem", { name: /^Retry/u }));
  expect(screen.queryByRole("dialog")).toBeNull();
  await user.click(within(menu).getByRole("menuitem", { name: /^Priority/u }));
  const dialog = await screen.findByRole("dialog");
  await user.type(within(dialog).getByRole("textbox", { name: "Priority" }), "900");
  expect(await within(dialog).findByText(samples.previews()["priority"]!.sentence)).toBeTruthy();
  expect(previewed.at(-1)).toMatchObject({ action: "priority", step: null, priority: 900 });
});

test("only what was changed of the params is sent", async () => {
  show(INSTANCE);
  await user.click(await screen.findByRole("button", { name: "More" }));
  await user.click(await screen.findByRole("menuitem", { name: /^Params/u }));
  const dialog = await screen.findByRole("dialog");
  await user.type(within(dialog).getByRole("textbox", { name: "Reason" }), "moved");
  await user.click(within(dialog).getByRole("button", { name: "Change the params" }));
  expect(await within(dialog).findByText("Change at least one value.")).toBeTruthy();
  const [name] = Object.entries(samples.instance().params).find(([, value]) => typeof value === "string")!;
  const title = samples.streamDetail().params.find((param) => param.name === name)?.title ?? name;
  const field = await within(dialog).findByRole("textbox", { name: title });
  await user.clear(field);
  await user.type(field, "elsewhere");
  await within(dialog).findByText(samples.previews()["params"]!.sentence);
  await user.click(within(dialog).getByRole("button", { name: "Change the params" }));
  await waitFor(() => expect(sent).toHaveLength(1));
  expect(sent[0]!.params).toEqual({ [name]: "elsewhere" });
});

test("who may only look sees no button that would be refused, and nothing is even asked", async () => {
  let [told, asked] = [0, 0];
  server.use(
    http.get(`${API}/me`, () => {
      told += 1;
      return HttpResponse.json(samples.me(false));
    }),
    http.get(ACTIONS, () => {
      asked += 1;
      return HttpResponse.json(samples.actions());
    }),
  );
  show(`${INSTANCE}?step=post_invoice`);
  const step = await screen.findByRole("complementary");
  await within(step).findByRole("heading", { name: "End of the log" });
  await waitFor(() => expect(told).toBe(1));
  await waitFor(() => expect(queries.isFetching()).toBe(0));
  expect(screen.queryByRole("group", { name: "Actions" })).toBeNull();
  for (const name of ["Cancel", "Skip", "Complete by hand", "Hold", "Acknowledge", "More"]) {
    expect(screen.queryByRole("button", { name }), name).toBeNull();
  }
  expect(asked).toBe(0);
});

test("who has lost the right to act meanwhile sees no button either", async () => {
  server.use(http.get(ACTIONS, () => HttpResponse.json({ as_of: samples.NOW, may_act: false, instance: [], steps: {} })));
  show(`${INSTANCE}?step=post_invoice`);
  await within(await screen.findByRole("complementary")).findByRole("heading", { name: "End of the log" });
  await waitFor(() => expect(queries.isFetching()).toBe(0));
  expect(screen.queryByRole("group", { name: "Actions" })).toBeNull();
  expect(screen.queryByRole("button", { name: "Cancel" })).toBeNull();
});

test("an answer about the rights that does not come offers nothing", async () => {
  server.use(refuse("/me", 403, "no"));
  show(INSTANCE);
  await screen.findByRole("heading", { name: /ORD-000042/u });
  await waitFor(() => expect(queries.isFetching()).toBe(0));
  expect(screen.queryByRole("group", { name: "Actions" })).toBeNull();
});

test("Esc closes the dialog and nothing else, and the focus returns to where it came from", async () => {
  const dialog = await open("post_invoice", "Skip");
  expect(dialog.contains(document.activeElement), "the focus is in the dialog").toBe(true);
  await user.keyboard("{Escape}");
  expect(screen.queryByRole("dialog")).toBeNull();
  const step = screen.getByRole("complementary");
  expect(document.activeElement).toBe(within(step).getByRole("button", { name: "Skip" }));
  expect(sent).toEqual([]);
});

test("the keyboard stays within the dialog", async () => {
  const dialog = await open("post_invoice", "Skip");
  await within(dialog).findByText(samples.previews()["skip"]!.sentence);
  const met = new Set<string>();
  for (let number = 0; number < 20; number += 1) {
    await user.tab();
    expect(dialog.contains(document.activeElement)).toBe(true);
    met.add((document.activeElement as HTMLElement).ariaLabel ?? document.activeElement!.textContent);
  }
  expect([...met].sort()).toEqual(["", "Close", "Skip"]);
  within(dialog).getByRole("button", { name: "Skip" }).focus();
  await user.tab();
  await user.tab({ shift: true });
  expect(document.activeElement).toBe(within(dialog).getByRole("button", { name: "Skip" }));
});

test("the dialog says to a screen reader what it is and what it is about", async () => {
  const dialog = await open("post_invoice", "Skip");
  expect(dialog.getAttribute("aria-labelledby")).toBeTruthy();
  expect(screen.getByRole("dialog", { name: "Skip “Post the invoice”" })).toBe(dialog);
  const about = document.getElementById(dialog.getAttribute("aria-describedby")!);
  expect(about?.textContent).toContain("Instance ORD-000042");
});
