"""Serves the models by the Open Inference Protocol, version 2, which clients of KServe, Triton and MLServer use."""
