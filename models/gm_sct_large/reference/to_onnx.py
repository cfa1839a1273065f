"""Write the ONNX file that SCT reads of weights that SCT published: with TensorFlow alone.

    python to_onnx.py large_model.hdf5 SCT-5.5/spinalcordtoolbox/deepseg_gm/model.py OUT.onnx

SCT 5.5 is the last release that ran these weights in Keras, so its ``model.py`` is the network's
own definition; later releases read an ONNX file. Nothing of deepseg_lite is imported: the labels
that SCT makes with this file are a reference for it.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf
import tf2onnx
import tf_keras


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="HDF5 file, with its JSON file beside it")
    parser.add_argument("definition", type=Path, help="model.py of SCT 5.5")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()

    filters = json.loads(arguments.weights.with_suffix(".json").read_text())["filters"]
    network = defined_in(arguments.definition)(filters)
    network.load_weights(arguments.weights)
    given = tf.TensorSpec((None, 200, 200, 1), tf.float32, name="input_1")
    tf2onnx.convert.from_keras(network, (given,), opset=11, output_path=str(arguments.out))


def defined_in(definition: Path) -> object:
    """Return the function of SCT that builds the network, run on Keras 2."""
    for name in ("", ".backend", ".models", ".layers"):
        sys.modules[f"keras{name}"] = __import__(f"tf_keras{name}", fromlist=["*"])
    # Keras 2.3's spelling of the learning rate; what training needs does not matter here.
    optimizers = type(sys)("keras.optimizers")
    optimizers.Adam = lambda lr: tf_keras.optimizers.Adam(learning_rate=lr)
    sys.modules["keras.optimizers"] = optimizers
    return runpy.run_path(str(definition))["create_model"]


if __name__ == "__main__":
    main()
