"""What depends on the backend: the only files of the package that may name one."""

from tfattn.backend.chunks import can_split_rows, map_chunks
from tfattn.backend.gradients import control_dependency, differentiable, recomputed
from tfattn.backend.islands import column_sums, compiled, is_fused, island, row_sums, with_rank
from tfattn.backend.loops import scan
from tfattn.backend.which import check_distribution

__all__ = [
    "can_split_rows",
    "check_distribution",
    "column_sums",
    "compiled",
    "control_dependency",
    "differentiable",
    "is_fused",
    "island",
    "map_chunks",
    "recomputed",
    "row_sums",
    "scan",
    "with_rank",
]
