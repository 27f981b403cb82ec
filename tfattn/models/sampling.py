"""How the next token is chosen, as data; neither Keras nor a backend is imported here."""

from dataclasses import dataclass

from tfattn.errors import InputError
from tfattn.spec import Spec


@dataclass(frozen=True)
class Sampling(Spec):
    """How the next token is chosen from its probabilities."""

    greedy: bool = False  # always the likeliest token
    temperature: float = 1.0  # of the softmax: below 1 prefers likely tokens, above 1 unlikely ones
    top_k: int | None = None  # the likeliest tokens to choose from (arXiv:1805.04833)
    # The likeliest tokens whose probabilities reach this together (arXiv:1904.09751, section 3.1).
    top_p: float | None = None
    repetition_penalty: float = 1.0  # of tokens that were there already (arXiv:1909.05858, 4.1)
    beams: int = 1  # beginnings that are followed at once, with no chance in it; 1 = no beam search
    # Of a beam search: 0 compares texts by their probability, which favours short ones; the more,
    # the longer (arXiv:1609.08144, equation 14; 0.6 in arXiv:1706.03762, section 6.1).
    length_penalty: float = 0.6
    # Of a beam search over a source: the more, the worse for targets that leave a part of it out
    # (the same equation; 0.2 in its section 7).
    coverage_penalty: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        for name, expected, holds in (
            ("temperature", "1e-6 to 1e6 (greedy takes the likeliest)", lambda x: 1e-6 <= x <= 1e6),
            ("top_k", "at least 1", lambda x: x >= 1),
            ("top_p", "a share over 0 and up to 1", lambda x: 0 < x <= 1),
            ("repetition_penalty", "a number over 0", lambda x: x > 0),
            ("beams", "1 to 1,024", lambda x: 1 <= x <= 1024),
            ("length_penalty", "0 to 10", lambda x: 0 <= x <= 10),
            ("coverage_penalty", "0 to 100", lambda x: 0 <= x <= 100),
        ):
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise InputError(f"Sampling.{name}: expected {expected}. Received: {value}.")
        drawn = ("temperature", "top_k", "top_p")
        for kind, is_chosen, useless in (
            ("greedy", self.greedy, drawn),
            ("beams", self.beams > 1, ("greedy", *drawn, "repetition_penalty")),
            ("beams of 1", self.beams == 1, ("length_penalty", "coverage_penalty")),
        ):
            for name in useless if is_chosen else ():
                if getattr(self, name) != getattr(Sampling, name):
                    raise InputError(
                        f"Sampling.{name}: expected none beside {kind}, which does not read it. "
                        f"Received: {getattr(self, name)}."
                    )
