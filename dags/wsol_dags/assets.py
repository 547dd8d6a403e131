"""What starts a run beside the clock."""

from airflow.sdk import Asset

#: The raw data set has changed. Its events come from `wsol_watch` or from outside; `wsol_retrain` listens only.
RAW_DATA = Asset(name="wsol_raw_data", uri="x-wsol://raw_data")
