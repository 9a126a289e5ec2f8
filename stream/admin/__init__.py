"""The admin API of a worker over HTTP: probes, metrics, status, predictions on request, and the live page."""
