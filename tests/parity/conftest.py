"""What the comparisons of models of a source and a target share."""

import numpy as np
import pytest

TOLERANCE = 1e-4


@pytest.fixture
def features():
    draw = np.random.default_rng(0)
    source = draw.integers(1, 60, size=(2, 50))
    source[1, 40:] = 0
    return {"tokens": source, "target_tokens": draw.integers(1, 60, size=(2, 30))}


@pytest.fixture
def same():
    """Assert that two models say the same of features, theirs in torch and ours."""
    import torch

    def compare(theirs, ours, features):
        source, target = (torch.tensor(features[name]) for name in ("tokens", "target_tokens"))
        with torch.no_grad():
            found = theirs.eval()(source, (source != 0).long(), decoder_input_ids=target)
        expected = (found.logits if hasattr(found, "logits") else found.last_hidden_state).numpy()
        worst = np.abs(expected - np.asarray(ours(features))).max()
        print(f"largest difference {worst:.1e} of {np.abs(expected).max():.1f}")
        assert np.abs(expected).max() > 0.01 and worst < TOLERANCE

    return compare
