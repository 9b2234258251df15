"""One self-contained HTML file about a run."""

from patchword.report.content import Cost, Report, Result, Shown, Told
from patchword.report.curves import read_metrics
from patchword.report.page import write_report

__all__ = ["Cost", "Report", "Result", "Shown", "Told", "read_metrics", "write_report"]
