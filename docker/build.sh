#!/bin/sh
# Build the images of the committed revision, all or those named: docker/build.sh [IMAGE...]
#   BASE_IMAGE        Debian 12, with or without Python             (debian:bookworm-slim)
#   WSOL_VERSION      tag of the images                             (short hash of the commit)
#   BUILD_CA          certificates of a proxy, as a build secret    (none)
#   BUILD_NETWORK     network of the build                          (default)
set -eu
cd "$(dirname "$0")/.."
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
revision=$(git rev-parse HEAD)
version=${WSOL_VERSION:-$(git rev-parse --short=12 HEAD)}
git archive HEAD dags docker dvc.yaml params.yaml | tar -x -C "$context"
git bundle create -q "$context/repository.bundle" HEAD
for image in ${*:-tools postgres mlflow airflow pipeline}; do
  echo "building wsol/$image:$version"
  DOCKER_BUILDKIT=1 docker build --file "$context/docker/$image/Dockerfile" --tag "wsol/$image:$version" \
    --build-arg BASE_IMAGE="${BASE_IMAGE:-debian:bookworm-slim}" --network "${BUILD_NETWORK:-default}" \
    --build-arg GIT_REVISION="$revision" --label "org.opencontainers.image.title=WSOL $image" \
    --label "org.opencontainers.image.revision=$revision" --label "org.opencontainers.image.version=$version" \
    ${BUILD_CA:+--secret "id=ca,src=$BUILD_CA"} "$context"
done
