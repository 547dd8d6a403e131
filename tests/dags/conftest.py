"""Airflow with a home of its own; the DAG folder is importable as Airflow makes it."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Read when airflow is imported, by whichever test comes first.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
sys.path.insert(0, str(Path(__file__).parents[2] / "dags"))
