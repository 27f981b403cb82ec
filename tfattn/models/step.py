"""What one training step reads, as data: what its FLOPs and its memory are counted by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """Rows of one length, without padding."""

    rows: int
    length: int = 0  # tokens of a row, or of a source; images have as many places as patches
    target: int = 0  # tokens of a target, where one is written
    # Share of the tokens (of the target, where there is one) of which logits are taken.
    told: float = 1.0
    classes: int = 0  # of images
