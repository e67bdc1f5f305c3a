import { beforeEach, expect, test } from "vitest";

import { paths, placeOf } from "./paths";
import { changed, instanceQuery, savedViews, saveViews, VIEWS, written } from "./view";

beforeEach(() => globalThis.localStorage.clear());

test("an address says what the API is asked, and nothing else", () => {
  const params = new URLSearchParams("stream=b&stream=a&live=true&q=ORD&tab=graph&state=");
  expect(instanceQuery(params)).toEqual({ stream: ["a", "b"], live: true, q: "ORD" });
});

test("the address of a view comes back from what it means", () => {
  for (const { search } of VIEWS) {
    expect(written(instanceQuery(new URLSearchParams(search)))).toBe(search);
  }
});

test("two addresses that mean the same are written alike", () => {
  expect(written({ live: true, stream: ["b", "a"] })).toBe(written({ stream: ["a", "b"], live: true }));
});

test("a change keeps the rest, and takes away what is empty", () => {
  const next = changed(new URLSearchParams("a=1&b=2&b=3&c=4"), { b: ["5", "6"], c: null, d: false });
  expect(next.toString()).toBe("a=1&b=5&b=6&d=false");
});

test("a run's id may hold anything", () => {
  const run = "scheduled__2026-03-10T06:30:00+00:00/%2F ?#";
  const address = new URL(paths.instance("orders", run), "http://host/airflow/");
  expect(placeOf(`/airflow${address.pathname}`)).toEqual({ page: "instance", dagId: "orders", runId: run });
});

test("pages are found below any base path, and unknown ones are known as such", () => {
  expect(placeOf("/base/plugin/streams")).toEqual({ page: "overview" });
  expect(placeOf("/plugin/streams/instances")).toEqual({ page: "instances" });
  expect(placeOf("/plugin/streams/nonsense")).toEqual({ page: "unknown" });
  expect(placeOf("/plugin/streams/instance/only-a-dag")).toEqual({ page: "unknown" });
});

test("saved views outlive the page; what somebody else left there does no harm", () => {
  saveViews([{ name: "Mine", search: "owner=me" }]);
  expect(savedViews()).toEqual([{ name: "Mine", search: "owner=me" }]);
  globalThis.localStorage.setItem("enterprise-orch.views", '[{"name": 3}, null, "x"]');
  expect(savedViews()).toEqual([]);
  globalThis.localStorage.setItem("enterprise-orch.views", "{broken");
  expect(savedViews()).toEqual([]);
});
