/**
 * Remote jobs, and what they left, on the page of an instance.
 *
 * How a user would notice that they are fake: "failed" without the code that the system gave, "running" of a job that the
 * system holds, or no way from here to the system's own page although the house has set one up.
 */

import { fireEvent, screen, within } from "@testing-library/react";
import { expect, test } from "vitest";

import { queries } from "../app";
import type { InstanceDetail, RemoteJob } from "../api/schema";
import * as samples from "../testing/samples";
import { API, http, HttpResponse, server } from "../testing/server";
import { show } from "../testing/show";

const PAGE = "/plugin/streams/instance/order_to_certificate/manual__42";

/** The page of an instance whose second step has this job, in the graph and among all jobs. */
function has(changes: Partial<RemoteJob>): void {
  const told: InstanceDetail = samples.instance();
  const job = { ...told.jobs[1]!.jobs![1]!, ...changes };
  const nodes = told.graph.nodes.map((node) => (node.id === "post_invoice" && node.run ? { ...node, run: { ...node.run, job } } : node));
  const jobs = told.jobs.map((step) => (step.task_id === "post_invoice" ? { ...step, jobs: [job] } : step));
  server.use(http.get(`${API}/dags/:dag/dagRuns/:run`, () => HttpResponse.json({ ...told, jobs, graph: { ...told.graph, nodes } })));
}

const beside = async () => within(await screen.findByRole("complementary", { name: "Post the invoice" }));
const line = async () => within(within(await screen.findByRole("region", { name: "Remote jobs" })).getByText(/^Post/u).closest("tr")!);

test.each([
  [{ state: "closed", verdict: "failure", code: "CC 0012", rc: 12 }, "Failed", "CC 0012"],
  [{ state: "closed", verdict: "failure", rc: 3 }, "Failed", "return code 3"],
  [{ phase: "held", reason: "Job is held" }, "Held over there", "Job is held"],
  [{ phase: "waiting", reason: "Job class A is held" }, "Waits over there", "Job class A is held"],
  [{ phase: "held", reason: null }, "Held over there", ""],
] as [Partial<RemoteJob>, string, string][])("a job tells its result, or why it does not get on, in its system's words: %o", async (job, state, said) => {
  has(job);
  const { unmount } = show(`${PAGE}?step=post_invoice`);
  expect((await beside()).getByText(state).closest("dd")!.textContent).toBe(state + said);
  unmount();
  show(`${PAGE}?tab=jobs`);
  expect((await line()).getByText(state).closest("td")!.textContent).toBe(state + said);
});

test("where the house has set it up, a job leads to its system's own page, and only then", async () => {
  const link = "https://zosmf.example/jobs/00420117";
  has({ link });
  const { unmount } = show(`${PAGE}?step=post_invoice`);
  expect((await beside()).getByRole("link", { name: /^00420117/u }).getAttribute("href")).toBe(link);
  unmount();
  show(`${PAGE}?tab=jobs`);
  expect((await line()).getByRole("link", { name: /^00420117/u }).getAttribute("href")).toBe(link);
});

test("without such a page the job has its id and no link", async () => {
  has({});
  show(`${PAGE}?step=post_invoice`);
  expect((await beside()).getByText("00420117").closest("a")).toBeNull();
});

test("jobs stand in the order in which they were handed over", async () => {
  const told = samples.instance();
  server.use(http.get(`${API}/dags/:dag/dagRuns/:run`, () => HttpResponse.json({ ...told, jobs: [...told.jobs].reverse() })));
  show(`${PAGE}?tab=jobs`);
  const rows = within(await screen.findByRole("region", { name: "Remote jobs" })).getAllByRole("row").slice(1);
  expect(rows.map((row) => /JOB\d{5}|0042\d{4}/u.exec(row.textContent)?.[0])).toEqual(["JOB00042", "00420098", "00420117"]);
});

test("what a step left is told by name, and an address leads where it says without what lets one in", async () => {
  const link = "https://share.example/customers/ORD-000042/certificate.pdf?X-Amz-Signature=abc";
  server.use(http.get(`${API}/dags/:dag/dagRuns/:run`, () => HttpResponse.json(samples.instance({ outputs: { certify: { verification: "K7", link, code: "javascript:alert(1)" } } }))));
  show(`${PAGE}?tab=data`);
  const left = within(await screen.findByRole("region", { name: "Deliver the certificate" }));
  expect(left.getAllByRole("term").map((one) => one.textContent)).toEqual(["code", "link", "verification"]);
  const [shown, ...others] = left.getAllByRole("link");
  expect([shown!.getAttribute("href"), shown!.textContent.trim(), others]).toEqual([link, link.split("?")[0], []]);
});

test("of a log its end is in sight, and who reads further up is not taken away from there by what it writes", async () => {
  let lines = ["one"];
  server.use(http.get(`${API}/dags/:dag/dagRuns/:run/steps/:step/log`, () => HttpResponse.json({ ...samples.log(), lines })));
  show(`${PAGE}?step=post_invoice`);
  const log = await (await beside()).findByLabelText("Log");
  expect(log.scrollTop).toBe(log.scrollHeight);
  const writes = async (line: string) => {
    lines = [...lines, line];
    await queries.refetchQueries();
    await within(log).findByText(new RegExp(line, "u"));
  };
  log.scrollTop = 5;
  fireEvent.scroll(log);
  await writes("two");
  expect(log.scrollTop).toBe(5);
  log.scrollTop = log.scrollHeight - log.clientHeight;
  fireEvent.scroll(log);
  await writes("three");
  expect(log.scrollTop).toBe(log.scrollHeight);
});
