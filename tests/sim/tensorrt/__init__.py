"""Fakes of TensorRT's Python bindings, 10.0 to 11.4."""
