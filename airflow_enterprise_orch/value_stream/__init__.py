"""From YAML text to a checked model to a DAG; pure, no I/O beyond reading the file."""
