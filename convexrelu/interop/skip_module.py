"""`SkipModule`: a two-layer ReLU network with a skip as a PyTorch module. Imports torch: to be imported lazily."""

from typing import Any

import torch


class SkipModule(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """output(relu(hidden(x))) + skip(x)."""

    def __init__(self, hidden: torch.nn.Linear, output: torch.nn.Linear, skip: torch.nn.Linear) -> None:
        super().__init__()
        self.hidden, self.output, self.skip = hidden, output, skip

    def forward(self, x: Any) -> Any:
        """Values (n, T) at x (n, d)."""
        return self.output(torch.relu(self.hidden(x))) + self.skip(x)
