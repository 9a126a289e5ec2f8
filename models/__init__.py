"""Models on disk and in memory: nets, preprocessing, artefacts, serving, training. Needs no broker."""
