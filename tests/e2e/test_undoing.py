"""What was done is undone on real Airflow processes, when a later step fails for good.

How a user would notice that it is fake: goods stay reserved for an order that failed; a reservation is taken back
twice, or while something still builds on it; a person repairs the instance and it ships goods that nobody reserved.
"""

from __future__ import annotations

from company import JOB, OVER, Stage, go, scenario

SHIPPING = """
value_stream: shipping
title: Shipping
business: {domain: Tests, owner: tests, key: "{{ params.order }}"}
params: {order: {type: string}, folder: {type: string}, until: {type: string, default: ""}}
steps:
  reserve:
    unix.script: {connection: virtual_server, script: 'echo "RESERVED=$$"', args: []}
    outputs: {number: {log: log, match: 'RESERVED=(.*)', type: string}}
    compensate: {unix.script: {connection: virtual_server, script: 'echo "$1"', args: ["{{ steps.reserve.number }}"]}}
  charge:
    after: [reserve]
    unix.script: {connection: virtual_server, script: 'true'}
    compensate: {unix.script: {connection: virtual_server, script: 'true'}}
  pack:
    after: [reserve]
    unix.script: {connection: virtual_server, script: 'JOB', env: {UNTIL: "{{ params.until }}"}}
  ship:
    after: [charge]
    unix.script: {connection: virtual_server, script: 'test -e "$1/stock"', args: ["{{ params.folder }}"]}
""".replace("JOB", JOB)

UNDOING = ("charge--undo", "reserve--undo")


@scenario({"shipping": SHIPPING})
def test_what_was_done_is_undone_once_in_reverse_and_done_again_after_a_repair(here: Stage) -> None:
    packed = here.place / "packed"
    here.api.trigger("shipping", "one", {"order": "ORD-7", "folder": str(here.place), "until": str(packed)})

    def states() -> dict[str, str]:
        return here.states("shipping", "one")

    # Shipping fails: the charge is taken back at once, the reservation only when packing is over, which builds on it.
    here.until(lambda: states()["ship"] == "failed" and states()["charge--undo"] == "success")
    assert (states()["pack"], states()["reserve--undo"]) == ("deferred", None)
    go(packed)
    here.until(lambda: here.state("shipping", "one") in OVER)
    assert here.state("shipping", "one") == "failed"
    assert [states()[name] for name in UNDOING] == ["success", "success"]

    def jobs(step: str) -> list[dict[str, str]]:
        keys = [one.attempt.key for one in here.attempts("shipping", "one") if one.step == step]
        return [job for key in keys for job in here.jobs("shipping", "one") if job["key"] == key]

    (charged,), (reserved,), (pack,) = jobs("charge--undo"), jobs("reserve--undo"), jobs("pack")
    assert charged["ended"] <= reserved["submitted"]
    assert pack["ended"] <= reserved["submitted"]

    # Who repairs only what failed is told that it would ship what is not reserved any more.
    (here.place / "stock").touch()
    here.clear("shipping", "one", "ship")
    here.until(lambda: here.task("shipping", "one", "ship")["try_number"] > 1 and here.state("shipping", "one") in OVER)
    assert here.state("shipping", "one") == "failed"
    assert "what step 'reserve' did is undone" in here.api.log("shipping", "one", "ship", 2)
    assert len(jobs("ship")) == 1

    # From the first step that was undone on: everything is done anew, and what would undo it has nothing to do.
    here.clear("shipping", "one", "reserve", include_downstream=True)
    here.until(lambda: here.state("shipping", "one") == "success")
    assert [states()[name] for name in UNDOING] == ["skipped", "skipped"]
    assert [len(jobs(step)) for step in ("reserve", "charge", "pack", "ship", *UNDOING)] == [2, 2, 2, 2, 1, 1]
