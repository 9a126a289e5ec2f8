"""What runs a model: the protocol that the worker needs, and torch's device."""
