#!/bin/sh
# Start the stack and wait until it is healthy; the first start writes docker/.env.
set -eu
cd "$(dirname "$0")"
if ! [ -f .env ]; then
  overlay=cpu
  if docker info --format '{{json .Runtimes}}' | grep -q nvidia; then overlay=gpu; fi
  memory=$(docker info --format '{{.MemTotal}}')
  socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
  socket=${socket#unix://}
  sed -e "s|^COMPOSE_FILE=.*|COMPOSE_FILE=compose.yaml:compose.$overlay.yaml|" \
    -e "s|^WSOL_VERSION=.*|WSOL_VERSION=${WSOL_VERSION:-$(git rev-parse --short=12 HEAD)}|" \
    -e "s|^WSOL_RAW_FOLDER=.*|WSOL_RAW_FOLDER=$(cd ../data/raw && pwd)|" \
    -e "s|^WSOL_MEMORY_MIB=.*|WSOL_MEMORY_MIB=$((memory / 1048576 * 3 / 4))|" \
    -e "s|^DOCKER_SOCKET=.*|DOCKER_SOCKET=$socket|" \
    -e "s|^DOCKER_GROUP=.*|DOCKER_GROUP=$(stat -c %g "$socket")|" .env.example >.env
  echo "wrote docker/.env ($overlay overlay)"
fi
setting() { sed -n "s/^$1=//p" .env; }
fail() {
  echo "error: $1" >&2
  exit 2
}
for name in WSOL_GPU_COUNT WSOL_SHM_MIB WSOL_MEMORY_MIB WSOL_PIDS AIRFLOW_PORT MLFLOW_PORT DOCKER_GROUP; do
  case $(setting $name) in "" | *[!0-9]*) fail "$name=$(setting $name) in docker/.env must be a whole number" ;; esac
done
version=$(setting WSOL_VERSION)
for image in tools postgres mlflow airflow pipeline; do
  docker image inspect "wsol/$image:$version" >/dev/null 2>&1 ||
    fail "there is no image wsol/$image:$version (WSOL_VERSION in docker/.env); \`make images\` builds those of this commit"
done
case $(setting WSOL_ADDRESS) in
  127.* | localhost | ::1 | "") ;;
  *) echo "warning: WSOL_ADDRESS=$(setting WSOL_ADDRESS) in docker/.env lets other machines reach both pages, whose" \
    "passwords then cross the network unencrypted (docs/deployment.md: put a proxy with TLS before them)" >&2 ;;
esac
raw=$(setting COMPOSE_PROJECT_NAME)_raw
linked=$(docker volume inspect --format '{{.Options.device}}' "$raw" 2>/dev/null) || linked=$(setting WSOL_RAW_FOLDER)
[ "$linked" = "$(setting WSOL_RAW_FOLDER)" ] ||
  fail "volume $raw is a link to $linked, not to WSOL_RAW_FOLDER; to renew it: make down; docker volume rm $raw; make up"
docker compose up --detach --wait --remove-orphans
echo "Airflow: http://localhost:$(setting AIRFLOW_PORT)  MLflow: http://localhost:$(setting MLFLOW_PORT)"
echo "user: admin; passwords: make passwords; new DAGs are paused"
