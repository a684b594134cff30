"""A terminal in which a program runs as a person sees it."""

import shutil
import subprocess
from contextlib import contextmanager

import pytest


class Terminal:
    """A terminal of tmux's."""

    def __init__(self, tmux):
        self._tmux = tmux

    def screen(self):
        """What is to be read on it now."""
        return subprocess.run([*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, timeout=20).stdout

    def press(self, *keys):
        """Types texts, and presses keys by tmux's names for them."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True, timeout=20)


@contextmanager
def terminal(mount, command):
    """Runs a command of the shell in a terminal of 100 columns."""
    if not shutil.which("tmux"):
        pytest.skip("no tmux: scripts/install-dependencies test")
    tmux = ["tmux", "-S", str(mount.scratch / "tmux")]
    subprocess.run([*tmux, "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "20", command],
                   env=mount.environment, check=True, timeout=20)
    try:
        yield Terminal(tmux)
    finally:
        subprocess.run([*tmux, "kill-server"], timeout=20, stderr=subprocess.DEVNULL)
