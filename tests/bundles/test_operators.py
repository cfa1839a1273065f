"""Operators of networks: what only computes is taken, all else is refused (faults 6, 9)."""

from __future__ import annotations

import contextlib
import random
import struct
import tracemalloc

import pytest
from helpers.bundles import write_bundle
from helpers.onnx_files import message, network, node, tensor
from helpers.paths import MODELS

from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.files import check_network
from deepseg_lite.bundles.operators import check_graph
from deepseg_lite.errors import BundleError

RELU = node("Relu", ["x"], "y")
INNER = message((1, "body"), (6, message((1, RELU))), (20, 5))
GOOD = {
    "relu": network(RELU),
    "official domain": network(node("Relu", ["x"], "y", (7, "ai.onnx"))),
    "constant": network(node("Reshape", ["x", "s"], "y"), constants=(tensor("s", [1, 2, -1]),)),
    "slice to the end": network(
        node("Slice", ["x", "a", "e"], "y"),
        constants=(tensor("a", [0]), tensor("e", [2**63 - 1])),
    ),
}
HOSTILE = {
    "loop": (network(node("Loop", ["n", "c", "x"], "y", (5, INNER))), "operator 'Loop'"),
    "if": (network(node("If", ["c"], "y", (5, INNER))), "operator 'If'"),
    "scan": (network(node("Scan", ["x"], "y", (5, INNER))), "operator 'Scan'"),
    "graph in an attribute": (network(node("Relu", ["x"], "y", (5, INNER))), "a graph within"),
    "graphs in an attribute": (
        network(node("Relu", ["x"], "y", (5, message((1, "b"), (11, message((1, RELU))))))),
        "a graph within",
    ),
    "other domain": (
        network(node("Relu", ["x"], "y", (7, "com.microsoft"))),
        "operator 'com.microsoft.Relu'",
    ),
    "random": (network(node("RandomNormalLike", ["x"], "y")), "'RandomNormalLike'"),
    "strings": (network(node("StringNormalizer", ["x"], "y")), "'StringNormalizer'"),
    "function": (network(RELU, extra=((25, message((1, "f"))),)), "functions of its own"),
    "weights elsewhere": (
        network(
            node("Add", ["x", "w"], "y"),
            constants=(tensor("w", [1], None, (13, message((1, "location"), (2, "w.bin")))),),
        ),
        "weights in another file",
    ),
    "weights elsewhere by location": (
        network(node("Add", ["x", "w"], "y"), constants=(tensor("w", [1], None, (14, 1)),)),
        "weights in another file",
    ),
    "weights elsewhere in an attribute": (
        network(
            node(
                "Constant", [], "y", (5, message((1, "value"), (5, tensor("", [1], None, (14, 1)))))
            )
        ),
        "weights in another file",
    ),
    "sparse": (
        message((1, 9), (7, message((1, RELU), (15, tensor("w", [1]))))),
        "sparse constants",
    ),
    "huge constant": (
        network(RELU, constants=(tensor("w", [1], [2**20, 2**20]),)),
        "constant of 1099511627776 numbers",
    ),
    "negative constant": (network(RELU, constants=(tensor("w", [1], [-1]),)), "constant of -1"),
    "expands": (
        network(node("Expand", ["x", "s"], "y"), constants=(tensor("s", [2**20, 2**20]),)),
        "fill the memory",
    ),
    "fills": (
        network(node("ConstantOfShape", ["s"], "y"), constants=(tensor("s", [2**40]),)),
        "fill the memory",
    ),
    "fills by an attribute": (
        network(
            node("Constant", [], "s", (5, message((1, "value"), (5, tensor("", [2**40]))))),
            node("ConstantOfShape", ["s"], "y"),
        ),
        "fill the memory",
    ),
    "resizes by numbers that are not raw": (
        network(
            node("Resize", ["x", "", "s"], "y"),
            constants=(message((1, 4), (2, 1), (4, struct.pack("<4f", 1, 1, 2e5, 2e5)), (8, "s")),),
        ),
        "fill the memory",
    ),
    "sparse by an attribute": (
        network(node("Constant", [], "y", (5, message((1, "sparse_value"), (22, RELU))))),
        "sparse constants",
    ),
    "range": (
        network(
            node("Range", ["a", "b", "c"], "y"),
            constants=(tensor("a", [0]), tensor("b", [2**50]), tensor("c", [1])),
        ),
        "fill the memory",
    ),
    "control characters": (network(node("\x1b[2J\n", ["x"], "y")), r"\\x1b\[2J\\n"),
    "long": (network(node("A" * 10_000, ["x"], "y")), "AAA"),
    "many": (network(*[RELU] * 50_001), "more than 50000 operators"),
    "no graph": (message((1, 9)), "it has no graph"),
    "graph is a number": (message((1, 9), (7, 3)), "a number where a message belongs"),
    "empty": (b"", "not a readable ONNX network"),
    "text": (b"nonsense" * 30, "not a readable ONNX network"),
    "zeros": (bytes(500), "not a readable ONNX network"),
}

MANY = 2**62
"""As a count of bytes, more than there is memory anywhere."""


def within(*extra: tuple) -> bytes:
    """Return a network whose only operator has more fields."""
    return network(node("Relu", ["x"], "y", *extra))


NUMBERS = {
    "graph": message((1, 9), (7, MANY)),
    "node": message((1, 9), (7, message((1, MANY)))),
    "input": within((1, MANY)),
    "output": network(message((2, MANY), (4, "Relu"))),
    "operator": network(message((1, "x"), (2, "y"), (4, MANY))),
    "domain": within((7, MANY)),
    "attribute": within((5, MANY)),
    "attribute's constant": within((5, message((5, MANY)))),
    "constant": message((1, 9), (7, message((1, RELU), (5, MANY)))),
    "name": network(RELU, constants=(message((1, 1), (2, 7), (8, MANY)),)),
    "data": network(RELU, constants=(message((1, 1), (2, 7), (8, "s"), (9, MANY)),)),
}


@pytest.mark.parametrize("network", NUMBERS.values(), ids=NUMBERS)
def test_a_number_in_the_place_of_data_is_no_number_of_bytes(tmp_path, network):
    (tmp_path / "a.onnx").write_bytes(network)
    with pytest.raises(BundleError, match=r"a number where .* belongs"):
        check_graph(tmp_path / "a.onnx")


@pytest.mark.parametrize("entry", [MANY, message((1, MANY)), message((1, "location"), (2, MANY))])
def test_the_place_of_weights_is_text(tmp_path, entry):
    weights = message((1, 5), (2, 1), (8, "w"), (13, entry), (14, 1))
    (tmp_path / "a.onnx").write_bytes(network(RELU, constants=(weights,)))
    (tmp_path / "weights.onnx").write_bytes(bytes(33))
    with pytest.raises(BundleError, match=r"a number where .* belongs"):
        check_graph(tmp_path / "a.onnx", tmp_path / "weights.onnx")


TIMES = 1 << 14
REPEATED = {
    "graphs": (b"\x3a\x00" * TIMES, "several graphs"),
    "inputs": (network(message(*[(1, "abc")] * 3, (4, "Relu")) + b"\x0a\x02ab" * TIMES), None),
    "attributes": (network(RELU + b"\x2a\x00" * TIMES), None),
    "numbers": (
        network(RELU, constants=(message((1, 1), (2, 7), (8, "s"), (7, b"\x7f" * TIMES)),)),
        None,
    ),
    "data": (
        network(RELU, constants=(message((1, 1), (2, 6), (8, "s"), (9, b"\x7f" * TIMES)),)),
        None,
    ),
    "axes": (network(RELU, constants=(message((8, "s")) + b"\x08\x7f" * TIMES,)), "16 axes"),
    "packed axes": (
        network(RELU, constants=(message((8, "s"), (1, b"\x7f" * TIMES)),)),
        "16 axes",
    ),
    "places": (
        network(RELU, constants=(message((8, "s"), (14, 1)) + b"\x6a\x00" * TIMES,)),
        "places",
    ),
    "facts": (
        network(RELU, constants=(message((1, 1), (2, 1), (13, b"\x1a\x00" * TIMES), (14, 1)),)),
        "weights that are not",
    ),
}


@pytest.mark.parametrize(("network", "problem"), REPEATED.values(), ids=REPEATED)
def test_no_field_takes_many_times_its_bytes(tmp_path, network, problem):
    """Lists of a field of two bytes took a hundred times the file."""
    (tmp_path / "a.onnx").write_bytes(network)
    (tmp_path / "weights.onnx").write_bytes(bytes(33))
    refused = (
        contextlib.nullcontext() if problem is None else pytest.raises(BundleError, match=problem)
    )
    tracemalloc.start()
    with refused:
        check_graph(tmp_path / "a.onnx", tmp_path / "weights.onnx")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * TIMES


def test_constants_whose_numbers_are_kept_are_counted(tmp_path):
    (tmp_path / "a.onnx").write_bytes(
        network(RELU, constants=tuple(tensor(str(i), [i]) for i in range(50_001)))
    )
    with pytest.raises(BundleError, match="more than 50000 operators or small constants"):
        check_graph(tmp_path / "a.onnx")


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_what_only_computes_is_taken(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    check_graph(tmp_path / "a.onnx")


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_what_does_more_is_refused(tmp_path, content, message):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=message) as caught:
        check_graph(tmp_path / "a.onnx")
    text = str(caught.value).replace(str(tmp_path), "")
    assert len(text) < 300
    assert text.isprintable()


def placed(count: int = 5, **facts: str) -> bytes:
    """Return a network with ``count`` float32 weights in another file."""
    entries = ((13, message((1, key), (2, value))) for key, value in facts.items())
    weights = message((1, count), (2, 1), (8, "w"), *entries, (14, 1))
    return network(node("Add", ["x", "w"], "y"), constants=(weights,))


def test_weights_may_be_in_the_file_that_was_checked_for_them(tmp_path):
    (tmp_path / "weights.onnx").write_bytes(bytes(33))
    (tmp_path / "a.onnx").write_bytes(placed(location="weights.onnx", offset="13", length="20"))
    check_graph(tmp_path / "a.onnx", tmp_path / "weights.onnx")
    with pytest.raises(BundleError, match="weights in another file"):
        check_graph(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    "facts",
    [
        {"location": "../weights.onnx", "offset": "0", "length": "20"},
        {"location": "other.onnx", "offset": "0", "length": "20"},
        {"offset": "0", "length": "20"},
        {"location": "weights.onnx", "offset": "14", "length": "20"},
        {"location": "weights.onnx", "offset": "-1", "length": "20"},
        {"location": "weights.onnx", "offset": "0", "length": "24"},
        {"location": "weights.onnx", "length": "20"},
        {"location": "weights.onnx", "offset": "0"},
    ],
)
def test_weights_must_be_within_that_file(tmp_path, facts):
    (tmp_path / "weights.onnx").write_bytes(bytes(33))
    (tmp_path / "a.onnx").write_bytes(placed(**facts))
    with pytest.raises(BundleError, match=r"weights that are not in weights\.onnx"):
        check_graph(tmp_path / "a.onnx", tmp_path / "weights.onnx")


@pytest.mark.parametrize(
    "folder", sorted(MODELS.glob("*/bundle")), ids=lambda path: path.parent.name
)
def test_networks_of_the_repository_only_compute(folder):
    networks = read_bundle(folder).networks
    for whole in networks:
        for file in (whole, *whole.variants):
            check_graph(folder / file.path)
        for form in whole.forms:
            check_graph(folder / form.path, folder / whole.path)
    assert networks


def test_no_network_is_opened_without_the_check(tmp_path):
    """Fault 9: the hash is right and the bundle whole; the graph decides."""
    import hashlib
    import json

    folder = write_bundle(tmp_path / "b")
    content = HOSTILE["loop"][0]
    (folder / "threshold_3d.onnx").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    manifest["networks"][0] |= {"sha256": digest, "size": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    bundle = read_bundle(folder)
    with pytest.raises(BundleError, match="operator 'Loop'"):
        check_network(bundle, bundle.networks[0])


def test_damaged_files_are_refused_or_read(tmp_path):
    """500 changes of a real network: a line, or nothing; never another exception."""
    content = (MODELS / "sc_gm_t2star" / "bundle" / "model.int8.onnx").read_bytes()
    rng, refused = random.Random(1), 0
    for _ in range(500):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 3, 30])):
            changed[rng.randrange(min(len(changed), rng.choice([100, 5000, len(changed)])))] = (
                rng.randrange(256)
            )
        if rng.random() < 0.3:
            del changed[rng.randrange(len(changed)) :]
        (tmp_path / "a.onnx").write_bytes(changed)
        try:
            check_graph(tmp_path / "a.onnx")
        except BundleError:
            refused += 1
    assert refused > 150
