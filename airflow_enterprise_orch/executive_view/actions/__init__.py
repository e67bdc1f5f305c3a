"""What people do to instances: hold, release, skip, complete, cancel, retry, restart, override, change.

One code path for the pages, the API, the command line and bulk work: a situation is read (``situation.py``), a plan is
made of it without changing anything (``planning.py`` and what it uses; that is the preview), and the plan is carried
out in the same transaction (``carrying_out.py``), with its event in the audit trail. Remote jobs are touched by the
steps' own tasks alone, which find what people wish in the task state store (``delegation/control.py``).
"""
