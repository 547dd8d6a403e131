#!/bin/sh
# The first start makes the databases; a half-made cluster of a start that was stopped is made anew.
set -eu
data=/srv/postgres/15
create() { # user, its connections at most, databases it owns
  password=$(cat "/run/wsol/postgres/$1")
  user=$1 connections=$2
  shift 2
  # By standard input: the arguments of a process are seen by everybody on the host.
  echo "CREATE ROLE $user LOGIN CONNECTION LIMIT $connections PASSWORD '$password'" | psql -q -v ON_ERROR_STOP=1 -U postgres -d postgres
  for database in "$@"; do psql -q -U postgres -d postgres -c "CREATE DATABASE $database OWNER $user"; done
}
if [ ! -d "$data" ]; then
  rm -rf "$data.new"
  # Without a password only inside this container; everybody else needs one.
  initdb -D "$data.new" -U postgres --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8 >/dev/null
  echo 'host all all all scram-sha-256' >>"$data.new/pg_hba.conf"
  pg_ctl -D "$data.new" -w -o "-c listen_addresses= -k /tmp" start >/dev/null
  # Of 200 in all: neither can take the connections of the other.
  create airflow 120 airflow
  create mlflow 60 mlflow mlflow_auth
  pg_ctl -D "$data.new" -w -m fast stop >/dev/null
  mv "$data.new" "$data"
fi
exec postgres -D "$data" -k /tmp -c listen_addresses='*' -c max_connections=200
