"""Level (b) of the fault harness: real Airflow processes, killed at random while many delegated steps are in flight.

``python -m tests.faults.airflow_kills --seed 1 --kills 60``. A seeded plan says who is struck when, and what people do
meanwhile (:mod:`.plan`); the world carries it out on PostgreSQL, one api-server, one scheduler, two triggerers and the
lab (:mod:`.world`, :mod:`.people`, :mod:`.runner`); the verdict compares the lab's own record of what really ran with
the ledgers and states that Airflow's REST API tells (:mod:`.verdict`).

What is repeatable is the plan. Which instruction a kill meets is the machine's choice: level (a) and the simulation
place deaths exactly. What this level cannot see:

- the loss of a write that the database had confirmed: the server's processes are killed, the machine is not;
- a worker on another machine: LocalExecutor's workers are children of the scheduler. A scheduler that is killed alone
  leaves its workers at work, which is what a lost scheduler is to workers elsewhere;
- several schedulers or api-servers at once;
- whether a person's mark was heard at once: while a triggerer or the database is away nobody can cancel. Such jobs are
  counted (``ran on``), a person then clears the step, and from there everything must come to its end.
"""
