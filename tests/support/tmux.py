"""A terminal that tests drive by keys and read off its screen: a tmux server of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.harness import wait_until

PROMPT = "ready> "


class Terminal:
    """A shell in a terminal of 100 by 30; a context manager."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._socket = str(directory / "tmux")
        self._environment = {**environment, "TERM": "xterm-256color"}

    def __enter__(self) -> Terminal:
        # The environment of the server becomes that of the shell, but for the prompt.
        size = ("-x", "100", "-y", "30")
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, f"PS1='{PROMPT}' exec bash --norc --noprofile")
        self.wait_for(PROMPT.strip())
        self.type("stty -echoctl; clear")  # else each Ctrl-C would show as ^C
        return self

    def __exit__(self, *error: object) -> None:
        self._tmux("kill-server")

    def type(self, text: str) -> None:
        """Type a line, and Enter."""
        self._tmux("send-keys", "-l", text)
        self.press("Enter")

    def press(self, key: str) -> None:
        """Press a key, in tmux's names: ``C-c``, ``Enter``."""
        self._tmux("send-keys", key)

    def screen(self, *, escapes: bool = False) -> str:
        """Return what is on the screen; with the escape sequences of its colours, if asked."""
        return self._tmux("capture-pane", "-p", *(["-e"] if escapes else [])).rstrip()

    def wait_for(self, text: str) -> str:
        """Wait until a text is on the screen, and return the screen."""
        seen = ""

        def is_there() -> bool:
            nonlocal seen
            seen = self.screen()
            return text in seen

        try:
            wait_until(is_there, f"{text!r} on the screen")
        except AssertionError as error:
            raise AssertionError(f"{error}; there is:\n{seen}") from None
        return seen

    def cursor_is_shown(self) -> bool:
        """Tell whether the cursor is visible."""
        return self._tmux("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def _tmux(self, *arguments: str) -> str:
        argv = ["tmux", "-S", self._socket, *arguments]
        done = subprocess.run(argv, env=self._environment, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout
