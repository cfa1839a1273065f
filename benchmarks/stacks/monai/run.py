"""Segment images with a MONAI bundle, by MONAI's own parser, transforms and inferer."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from notes import Notes, arguments


def import_all():
    """Import everything that is used."""
    import nibabel
    import torch
    from monai.bundle import ConfigParser

    return nibabel, torch, ConfigParser


def load_bundle(torch, parser_class, model, threads):
    """Return the parsed configuration and the network with its weights."""
    torch.set_num_threads(threads)
    folder = Path(model)
    parser = parser_class()
    parser.read_config(folder / "configs" / "inference.json")
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    return parser, network


def main() -> None:
    """Print a JSON object: seconds of stages and of the network, when cases ended."""
    notes = Notes()
    options = arguments(__doc__).parse_args()
    warnings.simplefilter("ignore")
    nibabel, torch, parser_class = notes.timed("import", import_all)()
    load = notes.timed("load", load_bundle)
    parser, network = load(torch, parser_class, options.model, options.threads)
    network.forward = notes.network(network.forward)
    prepare = notes.timed("preprocess", parser.get_parsed_content("preprocessing"))
    infer = notes.timed("predict", parser.get_parsed_content("inferer"))
    restore = notes.timed("restore", _restorer(parser.get_parsed_content("postprocessing")))
    options.out.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        for index, path in enumerate(options.images):
            case = prepare({"image": str(path)})
            case["pred"] = infer(case["image"][None], network)[0]
            labels = restore(case)
            out = options.out / f"{index}.nii.gz"
            notes.timed("write", _write)(nibabel, labels, path, out)
            notes.case_ended()
    notes.print()


def _restorer(postprocessing):
    """Return the post-transforms but the last, which saves, as a function of a case."""

    def restore(case):
        for transform in postprocessing.transforms[:-1]:
            case = transform(case)
        return case["pred"].numpy()[0].astype("uint8")

    return restore


def _write(nibabel, labels, path, out):
    nibabel.save(nibabel.Nifti1Image(labels, nibabel.load(path).affine), out)


if __name__ == "__main__":
    main()
