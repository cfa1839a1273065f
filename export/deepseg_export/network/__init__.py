"""Networks: PyTorch modules become ONNX graphs that are checked against them."""
