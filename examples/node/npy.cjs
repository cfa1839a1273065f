// Files of numpy (.npy, version 1), little-endian and in C order, as the conformance kit has them.
"use strict";
const fs = require("fs");

const KINDS = {
  "<f4": Float32Array,
  "<i4": Int32Array,
  "|u1": Uint8Array,
  "<u2": Uint16Array,
};

/** Return {shape, data} of a file. */
function readNpy(file) {
  const bytes = fs.readFileSync(file);
  if (bytes.subarray(1, 6).toString("latin1") !== "NUMPY" || bytes[6] !== 1) {
    throw new Error(`${file} is no .npy file of version 1.`);
  }
  const end = 10 + bytes.readUInt16LE(8);
  const header = bytes.subarray(10, end).toString("latin1");
  const kind = KINDS[/'descr': '([^']+)'/.exec(header)[1]];
  if (!kind || !header.includes("'fortran_order': False")) {
    throw new Error(`${file} holds numbers of another kind: ${header.trim()}`);
  }
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(",").filter((n) => n.trim()).map(Number);
  const copy = new Uint8Array(bytes.subarray(end)).buffer; // aligned
  return { shape, data: new kind(copy) };
}

module.exports = { readNpy };
