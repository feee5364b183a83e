"""The code in front of a watermark's bits: a checksum and a convolutional code, read back from soft values.

Rate 1/3, constraint length 9, generators 557, 663, 711 (octal): the best such code, from K. J. Larsen, "Short
convolutional codes with maximal free distance for rates 1/2, 1/3, and 1/4", IEEE Trans. Inf. Theory 19 (1973).
"""

import binascii
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DATA_BYTES = 6
MEMORY = 8
CODED_BITS = 3 * (8 * DATA_BYTES + 16 + MEMORY)

_GENERATORS = (0o557, 0o663, 0o711)
_STATES = 1 << MEMORY

Floats = NDArray[np.float32]


def encode(data: bytes, version: int) -> Floats:
    """Return the coded bits of 6 bytes and their checksum, as +1 for 0 and -1 for 1; `CODED_BITS` of them."""
    checked = data + _checksum(data, version)
    bits = np.unpackbits(np.frombuffer(checked + bytes(1), np.uint8))
    window, coded = 0, []
    for bit in bits:
        window = (window >> 1) | (int(bit) << MEMORY)
        coded += _sent(window)
    return np.array(coded, np.float32)


def decode(soft: Floats, version: int) -> bytes | None:
    """Return the likeliest 6 bytes for `CODED_BITS` soft values, whose sign is the bit; None if the checksum fails."""
    bits = _likeliest(soft.reshape(-1, len(_GENERATORS)))
    checked = np.packbits(bits[: 8 * (DATA_BYTES + 2)]).tobytes()
    data = checked[:DATA_BYTES]
    return data if checked[DATA_BYTES:] == _checksum(data, version) else None


def _sent(window: int) -> list[float]:
    return [1.0 - 2.0 * ((window & generator).bit_count() & 1) for generator in _GENERATORS]


def _checksum(data: bytes, version: int) -> bytes:
    # CRC-16-CCITT; a version of its own start value, so that no version takes another's mark for its own.
    return binascii.crc_hqx(data, 0xFFFF ^ version).to_bytes(2, "big")


@lru_cache(maxsize=1)
def _trellis() -> tuple[Floats, NDArray[np.intp]]:
    """Return what each window of 9 bits sends (512, 3), and the two states before each state (256, 2)."""
    sent = [_sent(window) for window in range(2 * _STATES)]
    state = np.arange(_STATES)
    # A window is the bit that comes, then the state; the state after it is the window without its oldest bit.
    before = np.stack([(2 * state) % _STATES, (2 * state + 1) % _STATES], axis=1)
    return np.array(sent, np.float32), before


def _likeliest(soft: Floats) -> NDArray[np.uint8]:
    """Return the bits of the best path from state 0 to state 0 (Viterbi)."""
    sent, before = _trellis()
    gains = (soft @ sent.T).reshape(len(soft), _STATES, 2)
    score = np.full(_STATES, -np.inf, np.float32)
    score[0] = 0
    chosen = np.empty((len(soft), _STATES), np.bool_)
    for step, gain in enumerate(gains):
        reached = score[before] + gain
        chosen[step] = reached[:, 1] > reached[:, 0]
        score = reached.max(axis=1)
    bits = np.empty(len(soft), np.uint8)
    state = 0
    for step in range(len(soft) - 1, -1, -1):
        bits[step] = state >> (MEMORY - 1)
        state = int(before[state, int(chosen[step, state])])
    return bits
