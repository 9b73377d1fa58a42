"""A challenger whose item vectors were shuffled is stopped, and the same challenger unharmed is not."""

from pathlib import Path

import torch

from recloop.data.splits import SplitConfig, split
from recloop.data.vocabulary import Vocabulary
from recloop.evaluation.contenders import fit
from recloop.evaluation.gate import Contender, GateConfig, decide
from recloop.evaluation.questions import Questions, ask
from recloop.evaluation.ranking import EvaluateConfig, evaluate
from recloop.models.base import Model
from recloop.models.storage import Trained, load, save
from recloop.sources import SourceContext
from recloop.sources.synthetic import Config, World

CPU = torch.device("cpu")


def contender(model: Model, catalogue: Vocabulary, questions: Questions, bundle: str | None = None) -> Contender:
    found = evaluate(model, catalogue, questions, EvaluateConfig())
    return Contender(
        model=found.model,
        users=found.users,
        metrics=found.metrics,
        slices=found.slices,
        latency_ms={"mean": 1.0, "p95": 1.0},
        bundle=bundle,
    )


def shuffled(model: Model, catalogue: Vocabulary, folder: Path) -> Model:
    """The model with the vectors of its items in another order."""
    save(Trained(model=model, vocabulary=catalogue), folder)
    copy = load(folder, CPU)[0]
    tensors = dict(copy.tensors())
    order = torch.randperm(len(catalogue), generator=torch.Generator().manual_seed(0))
    copy.load_tensors(tensors | {"items": tensors["items"][order]})
    return copy


def test_shuffled_item_vectors_do_not_pass_the_gate(tmp_path: Path) -> None:
    world = World(Config(users=300, items=120, days=60, sessions=8))
    context = SourceContext(root=tmp_path, data=tmp_path, cache=tmp_path, progress=lambda steps, _: steps)
    parts = split(world.tables(context).interactions, SplitConfig())
    questions = ask(parts.train, parts.valid, parts.test, targets="successive")
    baseline = contender(*fit("popularity", None, parts.train, device=CPU), questions)
    model, catalogue = fit("als", {"factors": 16}, parts.train, device=CPU)
    good = contender(model, catalogue, questions)
    bad = contender(shuffled(model, catalogue, tmp_path / "model"), catalogue, questions)

    passed = decide([good], baseline=baseline, champion=None, config=GateConfig())
    assert (passed.verdict, passed.winner) == ("promote", "als")
    for champion in (None, contender(model, catalogue, questions, "abc")):
        stopped = decide([bad], baseline=baseline, champion=champion, config=GateConfig())
        assert stopped.verdict == "keep"
        assert any(reason.startswith("als does not surely beat popularity") for reason in stopped.reasons)
