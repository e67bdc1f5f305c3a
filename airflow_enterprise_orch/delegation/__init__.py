"""Handing a job over, watching it, bringing it home: written once, for every system."""
