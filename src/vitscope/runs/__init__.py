"""The run folder, the interface between commands: its files and state, the metrics of each epoch, its provenance."""

from vitscope.runs.folder import RunFolder, RunState
from vitscope.runs.metrics import EpochMetrics, read_log_notes, read_metrics, write_metrics
from vitscope.runs.provenance import environment

__all__ = ["EpochMetrics", "RunFolder", "RunState", "environment", "read_log_notes", "read_metrics", "write_metrics"]
