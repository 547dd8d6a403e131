"""Searches over settings, and the MLflow run that holds their trials."""
