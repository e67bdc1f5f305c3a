"""Deterministic simulation of the hand-over: the real code, on a virtual clock, in a world that breaks at random.

One seed is one schedule: who runs when, what is lost, late or said twice, who dies, and what people do meanwhile. The
code under test is :class:`~airflow_enterprise_orch.delegation.conduct.Conduct` with all that is below it, and the wait
of the trigger; the scheduler, the task's life, the state store, the remote systems and the people are models. What
counts is what really ran over there (:class:`~.remote.Job`), never what the ledger believes.

``python -m tests.faults.simulation --help`` runs it by hand.
"""
