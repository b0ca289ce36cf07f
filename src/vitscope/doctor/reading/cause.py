"""A model that is blind to places and holds a table for them: what the check `parameters` says of that table is the same cause, told twice. In goes
the finding, out comes one that says so, with the fix for the table."""

from __future__ import annotations

from dataclasses import replace

from vitscope._core.text import Text
from vitscope.doctor.blocks.census import census_of
from vitscope.doctor.finding import Finding, Skipped
from vitscope.doctor.naming import as_code
from vitscope.doctor.patient import Patient


def with_its_table(patient: Patient, finding: Finding) -> Finding:
    """The finding that explains what is said of the table that it names, as far as this is said of nothing else."""
    never, frozen = finding.evidence.get("never_added"), finding.evidence.get("frozen")
    try:
        census = census_of(patient)
    except Skipped:
        return finding
    if never is not None and census.unused == (never,):
        return replace(finding, fault=replace(finding.fault, explains=("unused-parameters",)))
    if not isinstance(frozen, str):
        return finding
    shape = ", ".join(map(str, patient.model.get_parameter(frozen).shape))
    return replace(
        finding,
        fault=replace(
            finding.fault,
            advice=Text(
                f"take requires_grad=False off {frozen}, so that it learns; start it from small random numbers rather than zeros",
                f"{frozen}のrequires_grad=Falseを外して学習させてください。初期値も、ゼロではなく小さな乱数にしてください",
            ),
            code=f"{as_code(frozen)} = nn.Parameter(torch.zeros({shape}))   # without requires_grad=False\n"
            f"nn.init.trunc_normal_({as_code(frozen)}, std=0.02)",
            explains=("frozen-zeros",) if census.frozen_zeros == (frozen,) else (),
        ),
    )
