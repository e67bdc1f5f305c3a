"""Level (a) of the fault harness: one delegated step, its tries killed at every named point, against the lab.

``python -m tests.faults.submission_kills --cases 1000``. Every try is a process of its own (:mod:`.one_try`), forked
from a preloaded one (:mod:`.zygote`): the whole operator with the real clients, talking to the lab's stand-ins of every
system (:mod:`.systems`). Airflow is modelled where it cannot fail on demand (:mod:`.life`, :mod:`.store`): tries,
clears, deletions, and a task state store with a new id for every try. A seed draws one case (:mod:`.plan`), and the
verdict (:mod:`.verdict`) comes from the lab's own record of what was handed over and what ran.

What is repeatable is the plan, and with it every interleaving that matters: processes stop at named points and go on
when they are told to, and kills meet points, not moments. What a seed does not fix is the machine's speed; time runs
:data:`~.fast_time.RATE` times as fast for the tries, so that a settle time passes for real.
"""
