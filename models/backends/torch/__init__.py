"""The torch backend: the built-in architectures, their weights, and the device that they run on."""
