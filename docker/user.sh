#!/bin/sh
# In an image: user.sh FOLDER... makes the one user of all images and the folders it owns; new volumes take theirs over.
set -eu
groupadd --gid 10001 wsol
useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin wsol
for folder in "$@"; do
  mkdir -p "$folder"
  chown 10001:10001 "$folder"
  chmod 0750 "$folder"
done
