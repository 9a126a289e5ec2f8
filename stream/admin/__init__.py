"""HTTP beside the worker: probes, metrics, status, predictions on request, the live page."""
