"""Models without a broker: the decoder, preparation, model, decision and encoder of a worker, in the caller's thread."""
