"""A disk without space, at any step of a command."""

import errno
import os
from pathlib import Path


class FullDisk:
    """Lets a number of file operations through; from then on, or at the next one only, there is no space left."""

    def __init__(self, monkeypatch, passing, lasting):
        self.passing, self.lasting, self.failed = passing, lasting, 0
        for holder, name in ((Path, "mkdir"), (Path, "replace"), (os, "fsync"), (os, "mkdir")):
            monkeypatch.setattr(holder, name, self.limited(getattr(holder, name)))

    def limited(self, operation):
        def work(*arguments, **options):
            self.passing -= 1
            if self.passing < 0 and (self.lasting or not self.failed):
                self.failed += 1
                raise OSError(errno.ENOSPC, "No space left on device")
            return operation(*arguments, **options)

        return work
