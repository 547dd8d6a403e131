"""The report: figures, gallery and page."""
