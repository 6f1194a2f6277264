#!/usr/bin/env bash
# From labelled documents to extraction: trains the bundled model on a domain with labels of its own (ingredient lists,
# nine labels), exports one GGUF that is checked against what was trained, and extracts with it. A few minutes on two cores.
#
#     make .venv/train && examples/train_your_own.sh [FOLDER]      # FOLDER: where to work, runs/recipes if not given
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
data=examples/recipes
work=${1:-runs/recipes}

echo "== F1 of the bundled model as it is, on documents that are not trained on"
genner evaluate $data/valid.jsonl.gz --model genner_cli/models/genner-small.gguf

echo "== training"
[ -e "$work/adapter/genner.json" ] || genner train $data/train.jsonl.gz --valid $data/valid.jsonl.gz --base small --preset tiny --epochs 3 \
    -o "$work/adapter" --resume

echo "== exporting"
genner export "$work/adapter" -o "$work/recipes.gguf" --quantize Q8_0

echo "== F1 of the exported model"
genner evaluate $data/valid.jsonl.gz --model "$work/recipes.gguf"

echo "== extracting: the model knows its labels"
echo '{"text": "2 cups chopped fresh basil\n1/2 teaspoon sea salt"}' | genner extract - --model "$work/recipes.gguf"
