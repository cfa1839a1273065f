"""Model cards: what a manifest says, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NOT_SAID = "not stated"


def write_card(manifest: Mapping[str, Any]) -> str:
    """Return the model card of a bundle, as Markdown.

    Parameters
    ----------
    manifest : dict
        A valid manifest, with its networks and export record.
    """
    sections = {
        "Task and labels": f"{_labels(manifest['outputs'])}{_results(manifest)}",
        "Input expectations": _inputs(manifest),
        "Source": _source(manifest["source"]),
        "Conversion": _conversion(manifest),
        "Agreement with the original": _agreement(manifest["export"], manifest.get("parity")),
        **({"Reference cases": _references(manifest)} if "references" in manifest else {}),
        **({"Precisions": _precisions(manifest["precisions"])} if "precisions" in manifest else {}),
        "Limits": _limits(),
    }
    body = "\n".join(f"## {title}\n\n{text}\n" for title, text in sections.items())
    return f"# {manifest['name']} {manifest['version']}\n\n{body}"


def _labels(outputs: Mapping[str, Any]) -> str:
    order = outputs["regions_class_order"]
    if order is None:
        rows = [[label["name"], _joined(label["values"])] for label in outputs["labels"]]
        return _table(["label", "value"], rows)
    rows = [
        [label["name"], _joined(label["values"]), str(painted)]
        for label, painted in zip(outputs["labels"], order, strict=True)
    ]
    text = "Regions may overlap; they are painted in this order, later ones over earlier ones."
    return f"{_table(['region', 'values', 'painted as'], rows)}\n\n{text}"


def _results(manifest: Mapping[str, Any]) -> str:
    """Return what is done with labels, and the files they go to, where that is not the default."""
    outputs = manifest["outputs"]
    names = [label["name"] for label in outputs["labels"]]
    lines = [
        f"File `_{file['suffix']}`: {file['kind']}, {_joined(file.get('labels', names))}"
        for file in outputs.get("files", ())
    ]
    if manifest["ensemble"] == "majority":
        lines.append("Folds vote: a voxel has the value that more than half of them give it")
    lines += [f"Afterwards: {step['step']}" for step in manifest["postprocessing"]]
    if "workflow" in manifest:
        lines += _workflow(manifest["workflow"])
    return f"\n\n{_bullets(lines)}" if lines else ""


def _workflow(workflow: Mapping[str, Any]) -> list[str]:
    """Return what is made of this network and the second one."""
    lines = [f"First step of the workflow {workflow['name']}; the second is {workflow['second']}"]
    for option, files in workflow["files"].items():
        when = "" if option == "default" else f" with `--{option}`"
        lines += [f"File `_{file['suffix']}`{when}: {file['output']}" for file in files]
    return lines


def _inputs(manifest: Mapping[str, Any]) -> str:
    inputs, patch = manifest["inputs"], manifest["sliding_window"]["patch_size"]
    orientation = inputs["orientation"] or "the image's own"
    lines = [
        f"Images per case: {len(inputs['channel_names'])} ({_joined(inputs['channel_names'])})",
        *_wanted_images(manifest),
        f"Orientation: {orientation} (nibabel's codes; images are brought to it and back)",
        f"Axis order of the network: {inputs['axes']}",
        f"Patch size: {' x '.join('all' if n is None else str(n) for n in patch)} voxels",
    ]
    for step in manifest["preprocessing"]:
        if "spacing" in step:
            spacing = " x ".join("own" if s is None else f"{s:.4g}" for s in step["spacing"])
            lines.append(f"Resampled to: {spacing} mm")
        elif step["step"] == "normalize":
            schemes = _joined(channel["scheme"] for channel in step["channels"])
            lines.append(f"Normalization: {schemes}")
    return _bullets(lines)


def _wanted_images(manifest: Mapping[str, Any]) -> list[str]:
    """Return what people know about the images beyond what the network needs."""
    inputs, lines = manifest["inputs"], []
    if "contrasts" in inputs:
        lines.append(f"Contrasts: {'; '.join(' or '.join(one) for one in inputs['contrasts'])}")
    if "invert" in inputs:
        lines.append(f"Multiplied by -1: {_joined(inputs['invert'])}")
    if "advice" in inputs:
        lines.append(inputs["advice"])
    if "cord_crop" in manifest:
        sizes = manifest["cord_crop"]["padding_mm"].items()
        listed = _joined(f"{size:g} {face}" for face, size in sizes)
        lines.append(f"Cut first to the box around the cord, enlarged by (mm): {listed}")
    if "center" in manifest:
        center = manifest["center"]
        usual = _joined(
            f"{share:g} of the image towards {letter}"
            for letter, share in center.get("position", {}).items()
        )
        found = f"what {center['task']} finds" if "task" in center else ""
        ways = " or ".join(filter(None, (found, usual)))
        lines.append(f"With `--center-prior` it looks around {ways} ({center['source']})")
    return lines


def _source(source: Mapping[str, Any]) -> str:
    lines = [
        f"Family: {source['family']}",
        f"Release: {source.get('release', _NOT_SAID)}",
        f"Address: {', '.join(source.get('urls', [])) or _NOT_SAID}",
        f"Licence: {source['license'] or _NOT_SAID}",
        f"Citation: {source['citation'] or _NOT_SAID}",
    ]
    details = source.get("details", {})
    lines += [f"{_title(key)}: {value or _NOT_SAID}" for key, value in details.items()]
    rows = [[f"`{name}`", f"`{digest}`"] for name, digest in source["files"].items()]
    return f"{_bullets(lines)}\n\n{_table(['made from', 'SHA-256'], rows)}"


def _conversion(manifest: Mapping[str, Any]) -> str:
    record = manifest["export"]
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    rows = [
        [network["fold"], f"`{network['path']}`", f"{network['size'] / 1e6:.1f} MB"]
        for network in manifest["networks"]
    ]
    text = f"Made by `deepseg-export` with {versions}; ONNX opset {record['opset']}."
    return f"{text}\n\n{_table(['fold', 'file', 'size'], rows)}"


_AGAINST = {
    "numpy": "the network computed in numpy, on a small patch",
    "torch": "the original framework, on the patch",
    "onnx": "the ONNX file that was given, on the patch",
}


def _agreement(record: Mapping[str, Any], parity: Mapping[str, Any] | None) -> str:
    checks = record["checks"]
    earlier = "torch" if "torch" in record["versions"] else "onnx"  # before it was recorded
    rows = [
        [
            check["fold"],
            _AGAINST[check.get("against", earlier)],
            f"{check['max_abs_error']:.2g}",
            f"{check['max_rel_error']:.2g}",
        ]
        for check in checks
    ]
    text = "Logits of ONNX Runtime, on noise."
    if checks[0].get("on") == "phantom":
        text = (
            "What goes into the last sigmoid in ONNX Runtime, on a drawn neck: "
            f"{checks[0]['differing']} values are on the other side of 0.5, where "
            f"{checks[0]['foreground']} are above."
        )
    table = _table(["fold", "against", "largest difference", "relative"], rows)
    if parity is None:
        return f"{text}\n\n{table}\n\nLabel maps of real images were not compared."
    return (
        f"{text}\n\n{table}\n\nLabel maps of {parity['images']} real images against "
        f"{parity['reference']}: {parity['differing_voxels']} of {parity['voxels']} voxels differ, "
        f"Dice of every label at least {parity['min_dice']:g}."
    )


def _references(manifest: Mapping[str, Any]) -> str:
    """Return the cases that any machine can be held against."""
    rows = [
        [
            *(each["name"], each["source"], each["license"] or _NOT_SAID),
            f"{each['software']}, {each['date']}",
            _joined(f"{count} in {precision}" for precision, count in each["bounds"].items()),
        ]
        for each in manifest["references"]
    ]
    head = ["case", "image", "its licence", "labels made by", "voxels that may differ"]
    return f"`deepseg-lite verify` runs these.\n\n{_table(head, rows)}"


def _precisions(made: Mapping[str, Mapping[str, Any]]) -> str:
    """Return how far each variant agrees with the networks in float32."""
    rows = [
        [
            *(name, each["images"].replace("_", "-"), str(each["cases"]), each["provider"]),
            f"{each['differing_voxels']:,} of {each['voxels']:,}",
            _joined(
                f"{label} {'not there' if dice is None else f'{dice:.4f}'}"
                for label, dice in each["labels"].items()
            ),
        ]
        for name, record in made.items()
        for each in record["agreement"]
    ]
    head = ["precision", "images", "cases", "run by", "voxels that differ", "lowest Dice"]
    text = "`run --precision` takes these. Whole runs, compared with the same in fp32."
    unjudged = [name for name, record in made.items() if record["gate"] is None]
    if unjudged:
        text += f" Written without comparing: {_joined(unjudged)}."
    return f"{text}\n\n{_table(head, rows)}" if rows else text


def _limits() -> str:
    return (
        "For research, not a medical device. Valid for images like those it was trained on; "
        "whoever uses it checks the result. The conversion changes the file format, not the model."
    )


def _title(key: str) -> str:
    """Return a key for people; those of files as they are there."""
    return f"`{key}`" if "_" in key else key.capitalize()


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _joined(items: Any) -> str:
    return ", ".join(map(str, items))
