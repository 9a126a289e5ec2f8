"""Models on disk: signature, preprocessing, architecture, manifest and weights, in a repository."""
