"""Models on disk and in memory: nets, preprocessing, artefacts, serving, training. Needs no broker."""

if __name__ != "forebay.models":  # in a checkout, whose root is on the path
    # A second copy of each class would not be accepted by the first.
    raise ImportError("`models` is a part of the package `forebay`: import `forebay.models`")
