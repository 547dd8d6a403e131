"""Every head with every loss and every erasing: one epoch, stopped and resumed; what makes no sense is refused."""

import math
from itertools import product
from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from pipeline.models.attention_dropout import AttentionDropout, RegionDropout, insert_after
from pipeline.params import TrainParams
from pipeline.training import trainer as loop
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.trainer import Trainer
from tests.training.test_trainer import Killed, count_steps, stop_after
from tests.training.trainings import settings, small_network


def _choices(name):
    return get_args(TrainParams.model_fields[name].annotation)


HEADS, LOSSES, ERASINGS = (_choices(name) for name in ("head", "regularizer", "erasing"))
REFUSED = {("acol", "cutmix"), ("acol", "ae")}
ALLOWED = [
    (head, loss, erasing) for head, loss, erasing in product(HEADS, LOSSES, ERASINGS) if (head, erasing) not in REFUSED
]


def trainer(key, head, loss, erasing):
    chosen = settings(head=head, regularizer=loss, erasing=erasing, epochs=1, rdap_size=3, **{"lambda": 0.1})
    torch.manual_seed(0)
    network = small_network(chosen, norm=False)
    if erasing == "adl":
        insert_after(network.backbone, ["2"], lambda: AttentionDropout(chosen.dropout_rate, chosen.adl_threshold))
    if erasing == "rdap":
        insert_after(network.backbone, ["2"], lambda: RegionDropout(chosen.dropout_rate, chosen.rdap_size))
    earlier = [small_network(chosen, norm=False)] if erasing == "ae" else []
    return Trainer(network, chosen, 0, Checkpoint(key), lambda row: None, earlier)


def test_there_is_something_of_everything():
    assert len(HEADS) == 5 and len(LOSSES) == 7 and len(ERASINGS) == 6
    assert len(ALLOWED) == 5 * 7 * 6 - 2 * 7


@pytest.mark.parametrize(("head", "loss", "erasing"), ALLOWED)
def test_it_trains_and_resumes(images, monkeypatch, head, loss, erasing):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(loop, "LOOK_EVERY", 1)
    whole = trainer("whole", head, loss, erasing)
    start = {name: value.clone() for name, value in whole.network.state_dict().items()}
    history = whole.fit(images, images)
    assert all(math.isfinite(value) for value in history[0].values())
    assert not all(torch.equal(value, start[name]) for name, value in whole.network.state_dict().items())
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Killed):
            trainer("stopped", head, loss, erasing).fit(images, images)
    resumed = trainer("stopped", head, loss, erasing)
    taken = count_steps(resumed)
    resumed.fit(images, images)
    assert taken == [1]
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name])
    assert resumed.history[0]["loss"] == history[0]["loss"]


@pytest.mark.parametrize(("head", "erasing"), sorted(REFUSED))
def test_what_makes_no_sense_is_refused_with_a_reason(head, erasing):
    with pytest.raises(ValidationError, match=r"head acol .*(two classes|inside one network)"):
        settings(head=head, erasing=erasing)
