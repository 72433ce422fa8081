"""Copy lines of ``ctr events`` from stdin to stdout, and mangle them on the way.

``python mangler.py SEED PLUGINS KIND...``: the kinds are those of ``KINDS``; ``PLUGINS`` is a file with a line
``ID PID`` for each plugin that lives, for lies about them. Runs alone, so it imports nothing of ours.
"""

import os
import random
import select
import sys
import time

KINDS = ("torn", "cut", "repeated", "reordered", "dropped", "foreign")
HEAD = b"2026-11-23 13:29:04.03843805 +0000 UTC "
EXIT = b'%s%s /tasks/exit {"container_id":"%s","id":"%s","pid":%d,"exit_status":99}\n'
LONGEST_HOLD = 0.5
TICK = 0.05


class Mangler:
    """What is to come out, now or later."""

    def __init__(self, seed: str, plugins: str, kinds: list[str]) -> None:
        self.dice = random.Random(seed)
        self.plugins = plugins
        self.kinds = kinds
        self.held: list[tuple[float, bytes]] = []

    def take(self, line: bytes) -> None:
        """Let a line through, or do something else to it."""
        kind = self.dice.choice([*self.kinds, "whole"])
        if kind == "torn":  # in two writes, with a pause between
            place = self.dice.randrange(len(line))
            say(line[:place])
            time.sleep(self.dice.uniform(0, 0.05))
            say(line[place:])
        elif kind == "cut":  # without its end, so the next line is glued to it
            say(line[: self.dice.randrange(len(line))])
        elif kind == "repeated":
            say(line)
            self.hold(line)
            self.hold(line)
        elif kind == "reordered":
            self.hold(line)
        elif kind != "dropped":
            say(line)

    def hold(self, line: bytes) -> None:
        """Keep a line for a moment; lines that come meanwhile overtake it."""
        self.held.append((time.monotonic() + self.dice.uniform(0, LONGEST_HOLD), line))

    def tick(self) -> None:
        """Let go of what was held for long enough, and make something up."""
        due = [line for at, line in self.held if at <= time.monotonic()]
        self.held = [(at, line) for at, line in self.held if at > time.monotonic()]
        for line in due:
            say(line)
        if "foreign" in self.kinds:
            say(self.lie())

    def lie(self) -> bytes:
        """Make up something that must be ignored."""
        with open(self.plugins, "rb") as file:
            known = [line.split() for line in file.read().splitlines()]
        id, pid = self.dice.choice(known) if known else (b"nobody", b"1")
        ours, number = b"plugins.moby", int(pid)
        return self.dice.choice(
            [
                EXIT % (HEAD, b"elsewhere", id, id, number),  # of another namespace
                EXIT % (HEAD, ours, b"x" + id, b"x" + id, number),  # of another container, with our pid
                EXIT % (HEAD, ours, id, id, number + 1),  # ours, with another pid
                EXIT % (HEAD, ours, id, b"exec-1", number),  # of an exec
                EXIT % (HEAD, ours, id, id, 2**31 - 1) * 50,
                EXIT % (HEAD, ours, id, id, 10**30),
                HEAD + ours + b' /namespaces/update {"labels":{"pluginexec.ready":"0123456789abcdef"}}\n',
                HEAD + ours + b' /tasks/exit {"container_id":"' + id + b"\n",
                HEAD + ours + b" /tasks/exit " + b"[" * 5000 + b"\n",
                b"\n\n\0\0\0\n\xff\xfe\xc3\n\r\n",
                b"x" * self.dice.randrange(2_000_000) + b"\n",
                self.dice.randbytes(100),  # without an end, so the next line is glued to it
            ]
        )


def say(data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(1, data) :]


def main() -> None:
    """Copy until the end of the input."""
    seed, plugins, *kinds = sys.argv[1:]
    mangler = Mangler(seed, plugins, kinds)
    rest = b""
    while True:
        if select.select([0], [], [], TICK)[0]:
            data = os.read(0, 1 << 16)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                mangler.take(line + b"\n")
        mangler.tick()


if __name__ == "__main__":
    main()
