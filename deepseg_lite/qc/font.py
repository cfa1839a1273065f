"""Letters of a picture: digits and a few capitals, five by seven pixels."""

from __future__ import annotations

import numpy as np

from deepseg_lite.volume import AnyArray

HEIGHT, WIDTH = 7, 5
_ROWS = {
    "0": "0E11131519110E",
    "1": "040C040404040E",
    "2": "0E11010204081F",
    "3": "1F02040201110E",
    "4": "02060A121F0202",
    "5": "1F101E0101110E",
    "6": "0608101E11110E",
    "7": "1F010204080808",
    "8": "0E11110E11110E",
    "9": "0E11110F01020C",
    "A": "0E1111111F1111",
    "C": "0E11101010110E",
    "I": "0E04040404040E",
    "L": "1010101010101F",
    "P": "1E11111E101010",
    "R": "1E11111E141211",
    "S": "0F10100E01011E",
    "T": "1F040404040404",
    "-": "0000001F000000",
}
"""Each row of a letter as two hexadecimal digits; the highest of five bits is on the left."""


def size_of(text: str) -> tuple[int, int]:
    """Return rows and columns that a text takes."""
    return HEIGHT, len(text) * (WIDTH + 1) - 1


def draw(picture: AnyArray, text: str, row: int, column: int, value: int) -> None:
    """Write a text into a picture, its first pixel at a row and a column; what is outside is cut.

    Letters that there are not are blank.
    """
    for index, letter in enumerate(text):
        rows = bytes.fromhex(_ROWS.get(letter, "00" * HEIGHT))
        bits = np.unpackbits(np.frombuffer(rows, np.uint8)[:, None], axis=1)[:, 8 - WIDTH :]
        y, x = np.nonzero(bits)
        y, x = y + row, x + column + index * (WIDTH + 1)
        inside = (y >= 0) & (x >= 0) & (y < picture.shape[0]) & (x < picture.shape[1])
        picture[y[inside], x[inside]] = value
