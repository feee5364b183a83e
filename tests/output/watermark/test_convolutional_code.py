"""The code in front of a watermark's bits: it corrects errors, and knows when it cannot."""

import numpy as np
import pytest

from imggen.output.watermark import convolutional_code as code

DATA = bytes.fromhex("0123456789ab")


def test_every_bit_is_sent_three_times_over():
    coded = code.encode(DATA, 1)
    assert coded.shape == (code.CODED_BITS,) == (216,)
    assert set(coded.tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("data", [bytes(6), b"\xff" * 6, DATA])
def test_weak_and_wrong_values_are_corrected(data):
    soft = code.encode(data, 1) * np.float32(0.3)
    soft[::12] *= -1
    soft[5:20] = 0
    assert code.decode(soft, 1) == data


def test_noise_and_another_version_are_no_data():
    assert code.decode(code.encode(DATA, 1), 2) is None
    noise = np.random.default_rng(1).normal(size=(50, code.CODED_BITS)).astype(np.float32)
    assert [code.decode(soft, 1) for soft in noise] == [None] * 50


def test_stored_mark_is_read():
    packed = np.packbits(code.encode(DATA, 1) < 0).tobytes().hex()
    assert packed == "00000774909e482ff97f802fadd4c02c1516fdf4be61c030514dc0"
