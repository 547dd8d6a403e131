#!/bin/sh
# Build the images of the committed revision, all or those named: docker/build.sh [IMAGE...]
#   BASE_IMAGE        Debian 12, with or without Python             (that of docker/base/Dockerfile, by its content)
#   WSOL_VERSION      tag of the images                             (short hash of the commit)
#   BUILD_CA          certificates of a proxy, as a build secret    (none)
#   BUILD_NETWORK     network of the build                          (default)
set -eu
cd "$(dirname "$0")/.."
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
revision=$(git rev-parse HEAD)
version=${WSOL_VERSION:-$(git rev-parse --short=12 HEAD)}
git archive HEAD dags docker dvc.yaml params.yaml pipeline/params.schema.json | tar -x -C "$context"
git bundle create -q "$context/repository.bundle" HEAD
base=${BASE_IMAGE:-$(sed -n 's/^FROM //p' docker/base/Dockerfile)}
export DOCKER_BUILDKIT=1
build() {
  echo "building wsol/$1:$version"
  exec docker build --file "$context/docker/$1/Dockerfile" --tag "wsol/$1:$version" \
    --build-arg BASE_IMAGE="$base" --network "${BUILD_NETWORK:-default}" \
    --build-arg GIT_REVISION="$revision" --label "org.opencontainers.image.title=WSOL $1" \
    --label "org.opencontainers.image.revision=$revision" --label "org.opencontainers.image.version=$version" \
    ${BUILD_CA:+--secret "id=ca,src=$BUILD_CA"} "$context"
}
# All at once: they wait for downloads, and the engine does once what several need.
builds=
trap 'kill $builds; exit 143' INT TERM
for image in ${*:-tools postgres mlflow airflow pipeline}; do
  build "$image" &
  builds="$builds $!"
done
failed=
for build in $builds; do wait "$build" || failed=1; done
test -z "$failed"
