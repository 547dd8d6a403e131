#!/bin/sh
# Before every start of the stack: the volume's checkout is at this image's revision, and sees the raw data.
# Runs that are under way have clones of their own; git keeps every earlier revision.
set -eu
checkout=/srv/wsol/checkout
[ -d "$checkout/.git" ] || git init -q "$checkout"
cd "$checkout"
git fetch -q /opt/wsol/repository.bundle HEAD
git checkout -q --force --detach "$WSOL_REVISION"
mkdir -p "$WSOL_STATE" /srv/wsol/cache
dvc config --local cache.dir /srv/wsol/cache
# Without this a folder that may not be read would look empty.
ls /srv/raw >/dev/null
for entry in /srv/raw/*; do
  if [ -e "$entry" ]; then ln -sfn "$entry" "data/raw/$(basename "$entry")"; fi
done
git log -1 --format='checkout: %h %s'
