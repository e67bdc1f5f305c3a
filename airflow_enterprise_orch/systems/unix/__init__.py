"""UNIX hosts: scripts over SSH, where no scheduler owns the work."""
