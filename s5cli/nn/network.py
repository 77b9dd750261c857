"""What networks have in common."""

from torch import nn


class Network(nn.Module):
    """A network that can be a part of a system."""

    @property
    def nparams(self) -> int:
        """Parameters as the official code counts them: all, frozen ones included."""
        return sum(p.numel() for p in self.parameters())
