"""What depends on the backend: the only files of the package that may name one."""

from tfattn.backend.blocks import by_blocks, takes_rows
from tfattn.backend.gradients import after, differentiable, recomputed
from tfattn.backend.islands import column_sums, compiled, is_fused, island, row_sums
from tfattn.backend.loops import scan
from tfattn.backend.which import check_distribution

__all__ = [
    "after",
    "by_blocks",
    "check_distribution",
    "column_sums",
    "compiled",
    "differentiable",
    "is_fused",
    "island",
    "recomputed",
    "row_sums",
    "scan",
    "takes_rows",
]
