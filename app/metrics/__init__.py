"""Metrics for Prometheus, of all processes of the service."""
