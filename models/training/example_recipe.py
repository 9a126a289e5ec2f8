"""The recipe that `forebay train --init` prints."""

from __future__ import annotations

from typing import Final

EXAMPLE: Final = """\
# A recipe for `forebay train`. docs/training.md describes every key.

[data]
path = "rows.csv"          # CSV, JSON lines or Parquet; relative to this file
label = "label"            # the column to predict
# id = "id"                # identifies a row; not a feature
# time = "time"            # for a split by time; not a feature
# key = "customer"         # for a split by key; not a feature
# exclude = ["comment"]    # columns that are not features

[split]
by = "random"              # or "time" (needs data.time), or "key" (needs data.key)
validation = 0.15
test = 0.15

[model]
architecture = "mlp"       # linear, logistic, mlp, cnn, gru, hist_gradient_boosting, xgboost, lightgbm
hidden_dims = [64, 32]
dropout_rate = 0.1

[training]
optimizer = "adam"         # or "adamw", "sgd"
learning_rate = 0.001
batch_size = 256
epochs = 50
patience = 5               # epochs without a smaller validation loss
# class_weights = "balanced"
seed = 0

[register]
name = "my-model"
repository = "models"

# Ranges for `forebay train --tune N`.
[tune]
"training.learning_rate" = { from = 0.0001, to = 0.03, scale = "log" }
"model.hidden_dims" = { choices = [[32], [64, 32], [128, 64]] }
"""
