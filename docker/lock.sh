#!/bin/sh
# Resolve the packages of the images anew; what decides a result has the version of requirements.lock.
set -eu
cd "$(dirname "$0")/.."
same=$(mktemp)
trap 'rm -f "$same"' EXIT
grep -oE '^(dvc|h11|llvmlite|mlflow|numba|numpy|opencv-python|pandas|pillow|pyarrow|scikit-learn|scipy|timm|torch|torchvision)==[^\\]+' \
  requirements.lock >"$same"
# What installs the rest, by hash as well.
sed -n '/^uv==/,/[^\\]$/p' requirements.lock >docker/uv.lock
compile() { # image, what it holds
  image=$1
  shift
  .venv/bin/uv pip compile -q --python-platform x86_64-unknown-linux-gnu --python-version 3.11 --generate-hashes \
    --no-annotate --no-header --no-emit-index-url --no-emit-find-links -c "$same" "$@" -o "docker/$image/requirements.lock"
}
compile pipeline pyproject.toml --group remote
compile airflow --group airflow-image
compile mlflow --group mlflow-image
compile tools --group tools-image
# Runs beside the packages, not among them, on whatever Python this machine has.
.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --no-emit-find-links --group audit -o docker/audit.lock
