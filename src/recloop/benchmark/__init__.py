"""Any model on anybody's files: what is learnt from, what is asked, and the report of how well it was answered."""

from recloop.benchmark.options import read_settings
from recloop.benchmark.report import peak_rss_mb, run

__all__ = ["peak_rss_mb", "read_settings", "run"]
