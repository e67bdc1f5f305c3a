"""One folder per connected system, all with the same rooms."""
