#!/usr/bin/env bash
# The comparison on a CUDA machine, from a clone, in one command: nnUNetPredictor under autocast
# against deepseg_lite in float32 and in float16, one case per process and several.
#   benchmarks/gpu.sh [options of run.py]
# It makes two environments below build/, exports the models, measures, and fills the tables of
# benchmarks/README.md. PYTHON names the Python to make the environments with.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
lite=build/gpu-lite/bin/python
nnunet=build/gpu-nnunet/bin/python

if ! nvidia-smi --list-gpus; then
    echo "no NVIDIA GPU answers; one is needed. benchmarks/run.py measures CPUs." >&2
    exit 1
fi
if [ ! -x "$lite" ]; then
    "$python" -m venv build/gpu-lite
    "$lite" -m pip install ".[gpu]" "onnxruntime-gpu[cuda,cudnn]" # with CUDA's own libraries
fi
if [ ! -x "$nnunet" ]; then
    "$python" -m venv build/gpu-nnunet
    "$nnunet" -m pip install ".[export]" -r benchmarks/stacks/nnunetv2/requirements.txt
fi
"$python" benchmarks/run.py --cases-file benchmarks/cases/gpu.toml --device cuda \
    --python deepseg_lite_cuda="$lite" --python nnunetv2="$nnunet" "$@"
"$python" benchmarks/reports/report.py --write benchmarks/README.md
