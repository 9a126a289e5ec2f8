"""What travels on the topics: the catalogue, the wire formats, the failures. Imports nothing of `models` or `stream`."""

if __name__ != "forebay.schemas":  # in a checkout, whose root is on the path
    # A second copy of each class would not be accepted by the first.
    raise ImportError("`schemas` is a part of the package `forebay`: import `forebay.schemas`")
