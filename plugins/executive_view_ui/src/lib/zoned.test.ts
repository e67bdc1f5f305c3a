import { afterEach, expect, test } from "vitest";

import { fromField, nextAt, toField, zoneName } from "./zoned";

const choose = (name: string) => globalThis.localStorage.setItem("timezone", JSON.stringify(name));

afterEach(() => choose("UTC"));

test("what is typed means the zone that was chosen in Airflow, in summer and in winter", () => {
  choose("Europe/Berlin");
  expect(fromField("2026-01-10T06:00")).toBe("2026-01-10T05:00:00Z");
  expect(fromField("2026-07-10T06:00")).toBe("2026-07-10T04:00:00Z");
  choose("Asia/Kolkata");
  expect(fromField("2026-07-10T06:00")).toBe("2026-07-10T00:30:00Z");
  choose("America/Los_Angeles");
  expect(fromField("2026-12-31T20:00")).toBe("2027-01-01T04:00:00Z");
});

test("a moment comes back from its field", () => {
  for (const name of ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/Los_Angeles", "Pacific/Auckland"]) {
    choose(name);
    for (let day = 1; day < 366; day += 3) {
      const at = new Date(Date.UTC(2026, 0, day, (day * 7) % 24, 15)).toISOString().replace(".000Z", "Z");
      expect(fromField(toField(at))).toBe(at);
    }
  }
});

test("an hour that the clocks leave out is the one after it, and one that comes twice is one of the two", () => {
  choose("Europe/Berlin");
  expect(["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]).toContain(fromField("2026-03-29T02:30"));
  expect(["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]).toContain(fromField("2026-10-25T02:30"));
});

test("what is no moment is none", () => {
  expect([fromField(""), fromField("tomorrow"), fromField("2026-13-40T99:99")]).toEqual([undefined, undefined, undefined]);
});

test("the zone is named with its distance", () => {
  choose("Europe/Berlin");
  expect(zoneName(new Date("2026-01-10T00:00:00Z"))).toBe("Europe/Berlin, UTC+1");
  choose("Asia/Kolkata");
  expect(zoneName()).toBe("Asia/Kolkata, UTC+5:30");
  choose("UTC");
  expect(zoneName()).toBe("UTC");
});

test("six o'clock is the next one", () => {
  choose("Europe/Berlin");
  expect(nextAt(6, new Date("2026-01-10T04:59:00Z")).toISOString()).toBe("2026-01-10T05:00:00.000Z");
  expect(nextAt(6, new Date("2026-01-10T05:00:00Z")).toISOString()).toBe("2026-01-11T05:00:00.000Z");
});
