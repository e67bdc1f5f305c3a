/**
 * What became of the holds of jobs that are out there, on the page of an instance.
 *
 * How a user would notice that it is fake: "held" stands at a job that its system goes on with, or nothing does.
 */

import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";

import type { HeldJob } from "../api/schema";
import * as samples from "../testing/samples";
import { API, http, HttpResponse, server } from "../testing/server";
import { show } from "../testing/show";

const STEP = "/plugin/streams/instance/order_to_certificate/manual__42?step=post_invoice";

const stands = (...jobs: Partial<HeldJob>[]) =>
  server.use(http.get(`${API}/dags/:dag/dagRuns/:run/actions`, () => HttpResponse.json(samples.actions({ post_invoice: jobs.map((job) => samples.heldJob(job)) }))));
const node = async () => (await screen.findByText("Post the invoice", { selector: "[data-step] *" })).closest("button")!;
const panel = () => screen.findByRole("region", { name: "Hold of its remote job" });

test.each([
  [{ state: "asked", text: "the step's task has not looked yet" }, "Hold asked for", "Hold asked"],
  [{ state: "requested", text: "hold requested of sap://erp" }, "Hold requested over there", "Hold requested"],
  [{ state: "confirmed", text: "held over there: confirmed by sap://erp" }, "Held over there", "Held over there"],
  [{ state: "unsupported", text: "unsupported: sap://erp holds no job; the job goes on" }, "Cannot be held over there", "Hold unsupported"],
  [{ state: "refused", text: "refused: sap://erp does not hold 00420117; the job goes on" }, "Hold refused over there", "Hold refused"],
  [{ state: "too_late", text: "not held: it has started" }, "Hold came too late", "Hold too late"],
  [{ what: "release", state: "refused", text: "refused: it is held over there still" }, "Release refused over there", "Release refused"],
] as [Partial<HeldJob>, string, string][])("what became of a hold is told in the graph and beside the step: %o", async (job, whole, short) => {
  stands(job);
  show(STEP);
  const room = await panel();
  expect(room.textContent).toContain(whole);
  expect(room.textContent).toContain(`00420117 on sap://erp: ${job.text!}`);
  expect((await node()).textContent).toContain(short);
});

test("of a list it is told item by item, and in the graph what went wrong first", async () => {
  stands({ map_index: 0, state: "confirmed" }, { map_index: 1, state: "refused" }, { map_index: 2, state: "released" });
  show(STEP);
  const room = await panel();
  expect(within(room).getAllByRole("listitem").map((item) => item.textContent?.match(/Item \d/u)?.[0])).toEqual(["Item 1", "Item 2", "Item 3"]);
  expect((await node()).textContent).toContain("Hold refused: 1 of 3");
});

test("a hold that is over is nothing that the graph goes on about, nor is one that nobody asked for", async () => {
  stands({ state: "released", text: "released over there: confirmed by sap://erp" });
  show(STEP);
  expect((await panel()).textContent).toContain("Hold is over");
  expect((await node()).textContent).not.toMatch(/hold|released/iu);
  await userEvent.click(screen.getByRole("button", { name: "Close" }));
  await userEvent.click(await screen.findByRole("button", { name: /Book the order/u }));
  expect(screen.queryByRole("region", { name: "Hold of its remote job" })).toBeNull();
});
