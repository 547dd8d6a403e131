#!/bin/sh
# Before every start of the stack: the database of this version of Airflow, its first user, and a slot per GPU.
set -eu
airflow db migrate
user=$(cat /run/wsol/airflow/admin_user)
if ! airflow users list --output plain | grep -qw "$user"; then
  # By standard input, asked for twice: the arguments of a process are seen by everybody on the host.
  password=$(cat /run/wsol/airflow/admin_password)
  printf '%s\n%s\n' "$password" "$password" |
    airflow users create --role Admin --username "$user" \
      --firstname WSOL --lastname Administrator --email "$user@localhost.localdomain"
fi
slots=$WSOL_GPUS
[ "$slots" -gt 0 ] || slots=1
airflow pools set gpu "$slots" "one slot per GPU; one in all where there is none"
