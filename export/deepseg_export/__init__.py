"""Turn checkpoints of training frameworks into bundles that `deepseg_lite` runs without them."""
