"""``report.html``: one file that shows a whole run, made from the run's folder alone, at any time."""

from pairwright.report.contact import contact_sheet
from pairwright.report.gather import ReportError
from pairwright.report.rich import of_runs
from pairwright.report.sweep import sweep_report
from pairwright.report.write import report

__all__ = ["ReportError", "contact_sheet", "of_runs", "report", "sweep_report"]
