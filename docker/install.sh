#!/bin/sh
# In an image: install.sh LOCK makes /opt/venv with exactly the locked packages, hashes checked.
set -eu
# A proxy's certificate authority, where the builder gives one as a build secret.
if [ -s /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem SSL_CERT_FILE=/run/secrets/ca.pem; fi
python3 -m venv /tmp/uv
/tmp/uv/bin/pip install -q --no-cache-dir --require-hashes -r /tmp/uv.lock
python3 -m venv --without-pip /opt/venv
# Containers have a read-only root: what is not compiled here would be compiled at every start.
/tmp/uv/bin/uv pip install -q --no-cache --compile-bytecode --python /opt/venv/bin/python --require-hashes -r "$1"
