import { expect, test } from "vitest";

import type { DecisionTold } from "../api/schema";
import { instance } from "../testing/samples";
import { decidedAbout, valuesInShort, wayKey, waysTold } from "./decided";

const route = instance().decisions[0] as DecisionTold;

test("each way says its rule, whether it fired, and the values that the rule looked at", () => {
  const ways = waysTold([route]);
  const approve = ways.get(wayKey("route", "approve"))!;
  expect(approve.fired).toBe(true);
  expect(valuesInShort(approve.values)).toBe("amount 18250.5, credit class B");
  const partner = ways.get(wayKey("route", "provision_cloud"))!;
  expect([partner.fired, valuesInShort(partner.values)]).toEqual([false, "region north"]);
  expect(valuesInShort(ways.get(wayKey("route", "provision"))!.values)).toBe("amount 18250.5, credit class B, region north");
});

test("a value is not taken for another whose name begins like it", () => {
  const values = [
    { name: "params.amount", value: 1 },
    { name: "params.amount_due", value: 2 },
  ];
  const ways = [{ id: "1", title: "params.amount_due > 1", leads_to: ["a"], fired: true }];
  expect(valuesInShort(waysTold([{ ...route, ways, values }]).get(wayKey("route", "a"))!.values)).toBe("amount due 2");
});

test("where two rules lead to one step, the one that fired says why", () => {
  const ways = [
    { id: "1", title: "a", leads_to: ["x"], fired: false },
    { id: "2", title: "b", leads_to: ["x"], fired: true },
    { id: "3", title: "c", leads_to: ["x"], fired: false },
  ];
  expect(waysTold([{ ...route, ways }]).get(wayKey("route", "x"))!.rule).toBe("b");
});

test("a way that somebody had it go says who, and not that its rule did it", () => {
  const overridden = { by: "m.keller", reason: "the customer called", instead: ["approve"] };
  const ways = waysTold([{ ...route, chosen: ["provision_cloud"], overridden }]);
  expect(ways.get(wayKey("route", "provision_cloud"))!.by).toBe("m.keller");
  expect(ways.get(wayKey("route", "approve"))!.by).toBeUndefined();
  expect(waysTold([route]).get(wayKey("route", "approve"))!.by).toBeUndefined();
});

test("the values of a decision table's row lead to no step", () => {
  const ways = [{ id: "1", title: "amount > 3", leads_to: { discount: 0.1 }, fired: true }];
  expect(waysTold([{ ...route, kind: "table", ways }]).size).toBe(0);
});

test("a step knows the decisions that led to it or passed it by", () => {
  expect(decidedAbout([route], "provision_cloud")).toEqual([route]);
  expect(decidedAbout([route], "certify")).toEqual([]);
});
