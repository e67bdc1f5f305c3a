"""Cases that bring each mutation out whatever the machine's speed: they depend on points, not on moments."""

from __future__ import annotations

from collections.abc import Mapping

from .plan import Case, Incident

DIRECTED: Mapping[str, tuple[Case, ...]] = {
    # The answer is lost with the process, and the job is there to be found.
    "skip_find": (
        Case("directed:skip_find:0", "zosmf_unprotected", (Incident("sent", "kill"),)),
        Case("directed:skip_find:1", "zosmf", (Incident("after_answer", "kill"),)),
        Case("directed:skip_find:2", "sap_odata", (Incident("sent", "kill"),)),
    ),
    # A try that has lost the task to a run of the same id is about to send; and one whose request is long under way.
    "no_second_claim": (
        Case("directed:no_second_claim:0", "ssh", (Incident("after_claim", "recreated", after="zombie"),)),
        Case("directed:no_second_claim:1", "zosmf", (Incident("after_claim", "recreated", after="zombie"),)),
        Case("directed:no_second_claim:2", "zosmf_unprotected", (Incident("sent", "late", on="submit", seconds=4.0),)),
    ),
    # The wait moves to another triggerer while the job runs.
    "trust_on_kill": tuple(
        Case(f"directed:trust_on_kill:{number}", system, (Incident("waiting", "sigterm"),), seconds=4.0)
        for number, system in enumerate(("zosmf", "docker"))
    ),
    # The first request is cut off and still under way when the second could leave.
    "no_settle": tuple(
        Case(f"directed:no_settle:{number}", system, (Incident("before_defer", "late", on="submit", seconds=2.0),))
        for number, system in enumerate(("zosmf", "zosmf", "controlm"))
    ),
    # A zombie of the first try sends its copy when the second try has just released its own.
    "release_any": (
        Case(
            "directed:release_any:0",
            "zosmf",
            (Incident("before_send", "zombie", after="zombie", wake_at="after_release_sent"),),
        ),
        Case(
            "directed:release_any:1",
            "sap_xbp",
            (Incident("before_send", "zombie", after="zombie", wake_at="after_release_sent"),),
        ),
    ),
    # Created and not started, adopted and started, and adopted once more; an engine starts again what has ended.
    "start_anyway": (
        Case(
            "directed:start_anyway:0",
            "docker",
            (Incident("sent", "kill"), Incident("after_release_sent", "kill")),
            seconds=0.0,
        ),
    ),
}
