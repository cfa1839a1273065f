// The network of a bundle on the prepared image of a conformance kit, in Node.
//
//   node segment.cjs BUNDLE KIT
//
// Tiles are cut, given to the network and blended; the logits are brought back to the image's
// pixels and decided. Exits with 1 where a voxel differs from what the kit has.
// docs/developers/format.md describes each step. This program knows the steps of the shipped model:
// resampling within slices, regions or classes, one fold.
"use strict";
const fs = require("fs");
const path = require("path");
const ort = require("onnxruntime-node");
const { readNpy } = require("./npy.cjs");

async function main(bundle, folder) {
  const manifest = JSON.parse(fs.readFileSync(path.join(bundle, "manifest.json"), "utf8"));
  const kit = JSON.parse(fs.readFileSync(path.join(folder, "kit.json"), "utf8"));
  const array = (name) => {
    const found = kit.arrays.find(({ file }) => file.endsWith(`_${name}.npy`));
    return readNpy(path.join(folder, found.file));
  };
  const network = await ort.InferenceSession.create(path.join(bundle, kit.networks[0]));
  const shape = array("logits").shape.slice(1);
  const logits = await blend(network, array("padded"), array("starts"), array("importance"),
    array("offset").data, shape);
  const grid = array("labels").shape;
  const image = array("image").shape.slice(1);
  if (grid[0] * grid[1] * grid[2] !== image[0] * image[1] * image[2]) {
    throw new Error("The image was cropped, which this example does not undo.");
  }
  const onGrid = resizeSlices(logits, grid);
  const labels = decide(onGrid, grid, manifest.outputs);
  const result = toImage(labels, grid, manifest.inputs, kit.affine);
  const differing = [
    ["first tile's logits, largest difference", await firstTile(network, array("input"), array("output"))],
    ["labels that differ", count(labels, array("labels").data)],
    ["voxels of the image that differ", count(result, array("result").data)],
    ["voxels with a label", result.reduce((sum, value) => sum + (value > 0), 0)],
  ];
  for (const [what, number] of differing) console.log(`${what}: ${number}`);
  return differing[1][1] + differing[2][1] === 0 ? 0 : 1;
}

/** Return the network's output for one tile (C, z, y, x); a 2-D network has no axis z. */
async function run(network, tile, [channels, ...size]) {
  const dims = size[0] === 1 ? [1, channels, ...size.slice(1)] : [1, channels, ...size];
  const fed = { [network.inputNames[0]]: new ort.Tensor("float32", tile, dims) };
  return (await network.run(fed))[network.outputNames[0]].data;
}

async function firstTile(network, input, output) {
  const found = await run(network, input.data, input.shape.slice(1));
  return found.reduce((most, value, i) => Math.max(most, Math.abs(value - output.data[i])), 0);
}

/** Return {outputs, data}: logits (K, z, y, x), the weighted mean of all tiles, without the padding. */
async function blend(network, padded, starts, importance, offset, shape) {
  const [channels, ...whole] = padded.shape;
  const size = importance.shape;
  const voxels = size[0] * size[1] * size[2];
  const all = shape[0] * shape[1] * shape[2];
  const weights = new Float32Array(all);
  let sums = null;
  let outputs = 0;
  for (let tile = 0; tile < starts.shape[0]; tile += 1) {
    const start = starts.data.subarray(3 * tile, 3 * tile + 3);
    const cut = new Float32Array(channels * voxels);
    for (let c = 0, i = 0; c < channels; c += 1) {
      each(size, (z, y, x) => {
        const at = [start[0] + z, start[1] + y, start[2] + x];
        cut[i++] = padded.data[((c * whole[0] + at[0]) * whole[1] + at[1]) * whole[2] + at[2]];
      });
    }
    const found = await run(network, cut, [channels, ...size]);
    outputs = found.length / voxels;
    sums = sums || new Float32Array(outputs * all);
    let i = 0;
    each(size, (z, y, x) => {
      const at = [start[0] + z - offset[0], start[1] + y - offset[1], start[2] + x - offset[2]];
      const weight = importance.data[i];
      if (at.every((place, axis) => place >= 0 && place < shape[axis])) {
        const voxel = (at[0] * shape[1] + at[1]) * shape[2] + at[2];
        for (let k = 0; k < outputs; k += 1) {
          sums[k * all + voxel] += Math.fround(found[k * voxels + i] * weight);
        }
        weights[voxel] += weight;
      }
      i += 1;
    });
  }
  for (let k = 0; k < outputs; k += 1) {
    for (let voxel = 0; voxel < all; voxel += 1) sums[k * all + voxel] /= weights[voxel];
  }
  return { outputs, shape, data: sums };
}

/** Resample each slice linearly: corners of the grid stay in place, beyond the outer centres the edge goes on. */
function resizeSlices({ outputs, shape, data }, grid) {
  if (shape[0] !== grid[0]) throw new Error("This example resamples within slices alone.");
  const rows = neighbours(shape[1], grid[1]);
  const columns = neighbours(shape[2], grid[2]);
  const resized = new Float32Array(outputs * grid[0] * grid[1] * grid[2]);
  let i = 0;
  for (let slice = 0; slice < outputs * grid[0]; slice += 1) {
    const first = slice * shape[1] * shape[2];
    for (const [y0, y1, fy] of rows) {
      for (const [x0, x1, fx] of columns) {
        const top = data[first + y0 * shape[2] + x0] * (1 - fx) + data[first + y0 * shape[2] + x1] * fx;
        const low = data[first + y1 * shape[2] + x0] * (1 - fx) + data[first + y1 * shape[2] + x1] * fx;
        resized[i++] = top * (1 - fy) + low * fy;
      }
    }
  }
  return { outputs, data: resized };
}

/** Return for each new index the two old ones around it, and the share of the second. */
function neighbours(size, wanted) {
  return Array.from({ length: wanted }, (_, index) => {
    const place = Math.min(Math.max(((index + 0.5) * size) / wanted - 0.5, 0), size - 1);
    const before = Math.floor(place);
    return [before, Math.min(before + 1, size - 1), place - before];
  });
}

/** Regions are painted in their order where the logit is above 0; of classes the largest wins. */
function decide({ outputs, data }, grid, { regions_class_order: order }) {
  const all = grid[0] * grid[1] * grid[2];
  const labels = new Uint8Array(all);
  for (let voxel = 0; voxel < all; voxel += 1) {
    for (let k = 0; k < outputs; k += 1) {
      const value = data[k * all + voxel];
      if (order ? value > 0 : value > data[labels[voxel] * all + voxel]) labels[voxel] = order ? order[k] : k;
    }
  }
  return labels;
}

/** Bring labels (axes of the network) to the axes and directions of the image. */
function toImage(labels, grid, { axes, orientation }, affine) {
  const stored = codes(affine);
  const turned = orientation || stored; // axes x, y, z of the oriented image
  const size = [..."xyz"].map((name) => grid[axes.indexOf(name)]);
  const opposite = { L: "R", R: "L", A: "P", P: "A", S: "I", I: "S" };
  const from = [...stored].map((code) => [...turned].findIndex((c) => c === code || c === opposite[code]));
  const shape = from.map((axis) => size[axis]);
  const result = new Uint8Array(labels.length);
  let i = 0;
  each(shape, (...place) => {
    const oriented = [0, 0, 0];
    from.forEach((axis, own) => {
      oriented[axis] = turned[axis] === stored[own] ? place[own] : size[axis] - 1 - place[own];
    });
    const at = [...axes].map((name) => oriented["xyz".indexOf(name)]);
    result[i++] = labels[(at[0] * grid[1] + at[1]) * grid[2] + at[2]];
  });
  return result;
}

/** Return where the axes of an image point to, nearest letter: nibabel's convention. */
function codes(affine) {
  return [0, 1, 2].map((column) => {
    const along = [0, 1, 2].map((row) => affine[row][column]);
    const row = along.reduce((best, value, i) => (Math.abs(value) > Math.abs(along[best]) ? i : best), 0);
    return ["LR", "PA", "IS"][row][along[row] > 0 ? 1 : 0];
  }).join("");
}

function each([depth, height, width], visit) {
  for (let z = 0; z < depth; z += 1) {
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) visit(z, y, x);
    }
  }
}

function count(found, expected) {
  return found.reduce((sum, value, i) => sum + (value !== expected[i]), 0);
}

if (process.argv.length !== 4) {
  console.error("node segment.cjs BUNDLE KIT: a bundle's folder, and what deepseg-lite conformance wrote");
  process.exit(2);
}
main(process.argv[2], process.argv[3]).then((code) => process.exit(code), (error) => {
  console.error(`error: ${error.message}`);
  process.exit(1);
});
