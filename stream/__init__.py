"""The worker: Kafka records in, micro-batches through a model, predictions and dead letters out."""

if __name__ != "forebay.stream":  # in a checkout, whose root is on the path
    # A second copy of each class would not be accepted by the first.
    raise ImportError("`stream` is a part of the package `forebay`: import `forebay.stream`")
