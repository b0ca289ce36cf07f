"""A learning curve, examined: stuck at chance, below its reference, overfitting, diverging, an odd learning rate, two ways of measuring.
`examine` reads
runs and files, `watched` holds what the checks are asked about; one file for each kind of check."""

from vitscope.doctor.curve.examine import CURVE_CHECKS, examine_curve, examine_metrics_file, examine_run

__all__ = ["CURVE_CHECKS", "examine_curve", "examine_metrics_file", "examine_run"]
