"""Windows hosts: tasks of the Task Scheduler, over WinRM."""
