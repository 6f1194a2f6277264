#!/bin/sh
# run.sh NER PLAIN [OUT]: makes the bundled model from corpora; run again, it resumes.
set -eu
ner=$(realpath "$1") plain=$(realpath "$2") out=$(realpath -m "${3:-runs/bundled}")
cd "$(dirname "$0")"
make -C ../.. .venv/recipe
export ONEDNN_PRIMITIVE_CACHE_CAPACITY=128 PYTHONPATH=../..
python=../../.venv/bin/python
mkdir -p "$out"
if [ ! -e "$out/silver.jsonl.gz" ]; then
  $python silver.py --plain "$plain" -o "$out/silver.partial"
  mv "$out/silver.partial" "$out/silver.jsonl.gz"
fi
$python -m torch.distributed.run --standalone --nproc-per-node 2 train.py \
  --ner "$ner" --plain "$plain" --silver "$out/silver.jsonl.gz" -o "$out" --threads 1 --bfloat16
$python export.py "$out/model" -o "$out/genner-small.gguf"
$python calibrate.py "$out/genner-small.gguf" --ner "$ner" --documents 1000
echo "$out/genner-small.gguf is made; ../../benchmarks/quality.py --ner $ner --model $out/genner-small.gguf scores it"
