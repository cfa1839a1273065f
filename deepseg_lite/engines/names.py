"""Names of devices and precisions; nothing heavy is imported for them."""

DEVICES = ("auto", "cpu", "cuda", "openvino", "tensorrt", "directml", "coreml", "rocm")
"""Devices for networks; ``cpu`` is ONNX Runtime on the CPU."""

FORMS = ("auto", "canonical")
"""Forms of networks: the one for the device where a bundle has it, or the one for all devices."""

PRECISIONS = ("fp32", "bf16", "int8", "fp16", "fp16-weights")
"""Types of the numbers that networks compute with."""
