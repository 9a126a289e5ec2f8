"""Models on small devices: one ONNX file with everything in it, a folder that runs without Forebay, and what fits a device."""
