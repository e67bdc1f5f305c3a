"""The executive view: what the streams look like from above."""
