"""The backend `onnx`: ONNX graphs, inspected by an own reader and run by ONNX Runtime."""
