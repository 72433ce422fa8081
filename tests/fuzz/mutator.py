"""A byte mutator: real input, broken in the ways in which input breaks.

Every choice comes from the dice it is given, so the same seed gives the same cases.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

_LONG = 100_000
_NOT_UTF_8 = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe2\x80")
_CONTROLS = (b"\0", b"\x1b[2J", b"\r", b"\n", b"\t", b"\x0b", b"\x7f", b"\xc2\x9b", b"\xe2\x80\xae", b"\xe2\x80\xa8")
_NUMBERS = (
    *(b"0", b"-1", b"-0", b"1e999", b"-1e999", b"NaN", b"Infinity", b"1.5", b"255", b"256", b"0x10", b"1_0"),
    *(b"2147483648", b"4294967296", b"18446744073709551616", b"9" * 25, b"9" * 4000, b"9" * 5000),
)
_WORDS = (
    *(b"null", b"true", b"[]", b"{}", b'""', b'"', b"\\", b"\\u0000", b"\\ud800", b"'", b"`", b"$(", b";", b"|", b"&"),
    *(
        b" ",
        b":",
        b",",
        b"--",
        b"-h",
        b"../",
        b"%00",
        b"ctr: ",
        b"Server:",
        b"\n\n",
        b"TASK PID STATUS\n",
        b": unknown",
    ),
)


class Mutator:
    """Makes cases of a corpus without end."""

    def __init__(self, dice: random.Random, corpus: Sequence[bytes]) -> None:
        self._dice = dice
        self._corpus = corpus
        self._rare: tuple[Callable[[bytes], bytes], ...] = (self._nest, self._lengthen)
        self._common: tuple[Callable[[bytes], bytes], ...] = (
            *(self._flip, self._cut_out, self._cut_off, self._repeat, self._splice, self._change_number),
            *(self._inserter(pieces) for pieces in (_NOT_UTF_8, _CONTROLS, _NUMBERS, _WORDS)),
        )

    def cases(self, count: int) -> Iterator[bytes]:
        """Make ``count`` cases; most have one fault, and so get past the first check."""
        for _ in range(count):
            case = self._dice.choice(self._corpus)
            for _ in range(self._dice.choice((1, 1, 1, 2, 3, 6))):
                mutations = self._rare if self._dice.random() < 0.01 else self._common
                case = self._dice.choice(mutations)(case)
            yield case

    def _place(self, case: bytes) -> int:
        return self._dice.randint(0, len(case))

    def _slice(self, case: bytes) -> tuple[int, int]:
        start, end = sorted((self._place(case), self._place(case)))
        return start, min(end, start + self._dice.choice((1, 4, 40, 4000)))

    def _flip(self, case: bytes) -> bytes:
        if not case:
            return case
        place = self._dice.randrange(len(case))
        return case[:place] + bytes([case[place] ^ 1 << self._dice.randrange(8)]) + case[place + 1 :]

    def _cut_out(self, case: bytes) -> bytes:
        start, end = self._slice(case)
        return case[:start] + case[end:]

    def _cut_off(self, case: bytes) -> bytes:
        place = self._place(case)
        return case[:place] if self._dice.random() < 0.5 else case[place:]

    def _repeat(self, case: bytes) -> bytes:
        start, end = self._slice(case)
        return case[:end] + case[start:end] * self._dice.choice((1, 2, 9)) + case[end:]

    def _splice(self, case: bytes) -> bytes:
        other = self._dice.choice(self._corpus)
        return case[: self._place(case)] + other[self._place(other) :]

    def _change_number(self, case: bytes) -> bytes:
        numbers = list(re.finditer(rb"-?[0-9]+", case))
        if not numbers:
            return case
        start, end = self._dice.choice(numbers).span()
        return case[:start] + self._dice.choice(_NUMBERS) + case[end:]

    def _inserter(self, pieces: Sequence[bytes]) -> Callable[[bytes], bytes]:
        def insert(case: bytes) -> bytes:
            place = self._place(case)
            return case[:place] + self._dice.choice(pieces) + case[place:]

        return insert

    def _nest(self, case: bytes) -> bytes:
        opening, closing = self._dice.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")"), (b'"', b'"')))
        depth = self._dice.choice((50, 110, 1200, 20_000))
        place = self._place(case)
        return case[:place] + opening * depth + self._dice.choice((b"", b"1")) + closing * depth + case[place:]

    def _lengthen(self, case: bytes) -> bytes:
        piece = self._dice.choice(
            (b"a", b" ", b"\n", b"9", b"exec: ", b"\xff", case[slice(*self._slice(case))] or b"x")
        )
        place = self._place(case)
        return case[:place] + piece * (_LONG // len(piece)) + case[place:]
