"""Conversion to ONNX, and whether it answers as the model itself does."""
