"""Items drawn as examples of what did not come next."""

import torch
from torch import Tensor


def uniform(n_items: int, count: int, generator: torch.Generator) -> Tensor:
    """Item indices drawn uniformly with replacement, int64 (count,), on the generator's device."""
    return torch.randint(n_items, (count,), generator=generator, device=generator.device)
