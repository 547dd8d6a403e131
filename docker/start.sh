#!/bin/sh
# Start the stack and wait until it is healthy; the first start writes docker/.env.
set -eu
cd "$(dirname "$0")"
if ! [ -f .env ]; then
  overlay=cpu
  if docker info --format '{{json .Runtimes}}' | grep -q nvidia; then overlay=gpu; fi
  socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
  socket=${socket#unix://}
  sed -e "s|^COMPOSE_FILE=.*|COMPOSE_FILE=compose.yaml:compose.$overlay.yaml|" \
    -e "s|^WSOL_VERSION=.*|WSOL_VERSION=${WSOL_VERSION:-$(git rev-parse --short=12 HEAD)}|" \
    -e "s|^WSOL_RAW_FOLDER=.*|WSOL_RAW_FOLDER=$(cd ../data/raw && pwd)|" \
    -e "s|^DOCKER_SOCKET=.*|DOCKER_SOCKET=$socket|" \
    -e "s|^DOCKER_GROUP=.*|DOCKER_GROUP=$(stat -c %g "$socket")|" .env.example >.env
  echo "wrote docker/.env ($overlay overlay)"
fi
docker compose up --detach --wait --remove-orphans
echo "Airflow: http://localhost:$(sed -n 's/^AIRFLOW_PORT=//p' .env)  MLflow: http://localhost:$(sed -n 's/^MLFLOW_PORT=//p' .env)"
echo "user: admin; passwords: make passwords"
