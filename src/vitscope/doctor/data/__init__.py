"""Somebody's images and labels, examined: augmentation, leaks, normalisation, order, labels, balance. `reading` goes through a loader or
data set of any
make, `tables` through vitscope's own; one file for each check."""

from vitscope.doctor.data.examine import DATA_CHECKS, examine_data, examine_table

__all__ = ["DATA_CHECKS", "examine_data", "examine_table"]
