import { afterEach, beforeEach, expect, test } from "vitest";

import { between, clock, count, day, delta, duration, moment, percent } from "./format";

const NOW = new Date("2026-03-10T14:02:05Z");

beforeEach(() => globalThis.localStorage.setItem("timezone", '"UTC"'));
afterEach(() => globalThis.localStorage.setItem("timezone", '"UTC"'));

test("a moment says no more than one needs", () => {
  expect(moment("2026-03-10T16:00:00Z", NOW)).toBe("16:00");
  expect(moment("2026-03-11T06:30:00Z", NOW)).toBe("Wed 06:30");
  expect(moment("2026-02-01T06:30:00Z", NOW)).toBe("1 Feb 06:30");
  expect(moment(null, NOW)).toBe("–");
});

test("moments are told in the zone that the user chose in Airflow", () => {
  globalThis.localStorage.setItem("timezone", '"Asia/Kolkata"');
  expect(moment("2026-03-10T10:00:00Z", NOW)).toBe("15:30");
  globalThis.localStorage.setItem("timezone", '"no such zone"');
  expect(clock("2026-03-10T10:00:00Z")).toMatch(/\d\d:\d\d:00/u);
});

test("a business day is the same day in every zone", () => {
  globalThis.localStorage.setItem("timezone", '"America/Los_Angeles"');
  expect(day("2026-03-10")).toBe("10 Mar");
});

test("durations", () => {
  expect([0, 59, 60, 3599, 3600, 7500, 90_000].map(duration)).toEqual(["0 s", "59 s", "1 min", "1 h 00", "1 h 00", "2 h 05", "1 d 1 h"]);
  expect(duration(null)).toBe("–");
});

test("what is not known is never zero", () => {
  expect([count(null), percent(null), duration(undefined), delta(null)]).toEqual(["–", "–", "–", ""]);
  expect(between(null, "2026-03-10T10:00:00Z")).toBeNull();
});

test("late has a plus, early a minus", () => {
  expect([2280, -300, 4].map(delta)).toEqual(["+38 min", "−5 min", "on the dot"]);
});
