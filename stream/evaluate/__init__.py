"""The evaluator: joins labels with predictions and writes sums of quality."""
