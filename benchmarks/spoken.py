"""Spoken digits as pictures: log-mel spectrograms, which a vision Transformer reads.

    python -m benchmarks.spoken fsdd_train.npz fsdd_val.npz --out digits.npz

Both files have `audio` (int16, all recordings behind one another), `offsets` (n + 1) and `label`
(n), 8,000 samples a second. The picture of a recording has 64 bands of the mel scale up to 4 kHz
(rows, low ones first) and 64 frames of 10 ms; 80 dB are the range from black to white, whose white
is the loudest place. Longer recordings lose their ends.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tyro

RATE = 8_000  # samples a second
WINDOW, HOP = 256, 80  # samples of a frame, and from one to the next
BANDS = FRAMES = 64
LOWEST = 60.0  # Hz
RANGE = 8.0  # powers of ten: 80 dB


@dataclass(frozen=True)
class Setting:
    """What is read and written."""

    train: tyro.conf.Positional[Path]
    validation: tyro.conf.Positional[Path]
    out: Path = Path("runs/spoken.npz")


def spectrograms(audio: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the pictures (n, BANDS, FRAMES) uint8 of recordings."""
    mel = tf.signal.linear_to_mel_weight_matrix(BANDS, WINDOW // 2 + 1, RATE, LOWEST, RATE / 2)
    length = WINDOW + HOP * (FRAMES - 1)
    found = []
    for begin, end in zip(offsets[:-1], offsets[1:], strict=True):
        samples = audio[begin:end][:length].astype(np.float32) / 2**15
        samples = np.pad(samples, (0, length - len(samples)))
        power = tf.abs(tf.signal.stft(samples, WINDOW, HOP)) ** 2  # (frames, bins)
        bands = tf.math.log(tf.transpose(power @ mel) + 1e-10) / tf.math.log(10.0)
        share = 1 + (bands - tf.reduce_max(bands)) / RANGE
        found.append(np.round(255 * np.clip(share, 0, 1)).astype(np.uint8))
    return np.stack(found)


def main(setting: Setting) -> None:
    """Write the pictures and labels of both splits."""
    arrays = {}
    for split, path in (("train", setting.train), ("test", setting.validation)):
        with np.load(path) as given:
            arrays[f"x_{split}"] = spectrograms(given["audio"], given["offsets"])
            arrays[f"y_{split}"] = given["label"]
    setting.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(setting.out, **arrays)
    print(f"{setting.out}: {len(arrays['x_train']):,} and {len(arrays['x_test']):,} pictures")


if __name__ == "__main__":
    main(tyro.cli(Setting, description=__doc__))
