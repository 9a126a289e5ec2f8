"""Programs that are copied to devices. They import NumPy, ONNX Runtime and the standard library, never Forebay."""
