"""A report of finished runs: Markdown, CSV files, plots and one HTML page."""

from .writing import write_report

__all__ = ['write_report']
