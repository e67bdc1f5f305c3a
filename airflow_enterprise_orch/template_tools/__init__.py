"""Tools for those who write and review templates: they import no Airflow and touch no system."""
