#!/bin/sh
# Secrets come from files: neither the container's settings nor its command line show them.
set -eu
secret() { cat "/run/wsol/mlflow/$1"; }
database=postgresql+psycopg2://mlflow:$(secret database_password)@postgres:5432
umask 077
printf '[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = %s\nadmin_username = %s\nadmin_password = %s\n' \
  "$database/mlflow_auth" "$(secret admin_user)" "$(secret admin_password)" >/tmp/auth.ini
# Without the cache every request of a training would cost a password hash.
printf 'authorization_function = mlflow.server.auth:authenticate_request_basic_auth\nauth_cache_ttl_seconds = 60\n' \
  >>/tmp/auth.ini
export MLFLOW_AUTH_CONFIG_PATH=/tmp/auth.ini MLFLOW_BACKEND_STORE_URI="$database/mlflow"
MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret secret_key)
export MLFLOW_FLASK_SERVER_SECRET_KEY
# Keys of an S3-compatible store, where artifacts lie in one.
for file in /run/wsol/mlflow/AWS_*; do
  if [ -f "$file" ]; then export "${file##*/}=$(cat "$file")"; fi
done
# Requests at once and seconds that an idle connection is kept: who holds more gets "service unavailable".
exec mlflow server --app-name basic-auth --host 0.0.0.0 --port 5000 --workers 2 \
  --uvicorn-opts "--limit-concurrency 200 --timeout-keep-alive 30" \
  --serve-artifacts --artifacts-destination "$MLFLOW_ARTIFACTS"
