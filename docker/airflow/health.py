"""Health check of an Airflow service: ``health.py COMPONENT`` asks the API server, which knows all heartbeats."""

import json
import os
import sys
import urllib.request

base = os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].removesuffix("/execution/")
with urllib.request.urlopen(f"{base}/api/v2/monitor/health", timeout=5) as answer:
    status = json.load(answer)[sys.argv[1]]["status"]
sys.exit(status != "healthy" and f"{sys.argv[1]} is {status}")
