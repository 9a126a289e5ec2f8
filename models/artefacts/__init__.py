"""A model at rest: signature, preprocessing, architecture, manifest and weights, in a repository."""
