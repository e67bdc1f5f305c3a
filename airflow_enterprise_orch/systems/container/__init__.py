"""Containers: jobs and instances on an engine that speaks the Docker Engine API."""
