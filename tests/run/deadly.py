"""A toy system that ends its process as the kernel does when memory runs out."""

import os
import signal
from collections.abc import Sequence

from s5cli.scene import Scene
from tests.toy import Toy, ToyDecision

SECTION = """
[system.deadly]
flow = "tests.run.deadly:Deadly"
summary = "the toy, which recordings called deadly… kill"
source = "the tests"
parts = {}
"""


class Deadly(Toy):
    """A recording called deadly… kills the process."""

    def __call__(self, scenes: Sequence[Scene]) -> ToyDecision:
        if any(scene.name.startswith("deadly") for scene in scenes):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(scenes)
