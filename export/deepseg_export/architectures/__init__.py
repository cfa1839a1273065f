"""Networks written down once, as functions of layers: computed in numpy, or written as ONNX."""
