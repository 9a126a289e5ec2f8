"""Model backends: the protocol that the worker requires of a model, and the choice of torch's device."""
