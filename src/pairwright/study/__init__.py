"""Do people prefer it? A page for raters, a file that loses no vote, and an analysis that says how sure it is.

As in "When Preference Labels Fall Short" (arXiv 2605.19839, A.3 and Table 7a): pairs in random order, sides randomised, the
majority of the raters per prompt, by category; with the intervals, the checks and the agreement that a reviewer asks for besides.
"""

from pairwright.study.analysis import Bootstrap
from pairwright.study.create import create, locate
from pairwright.study.design import StudyError
from pairwright.study.longform import export
from pairwright.study.raters import Rules
from pairwright.study.report import report
from pairwright.study.serve import links, serve

__all__ = ["Bootstrap", "Rules", "StudyError", "create", "export", "links", "locate", "report", "serve"]
