"""What the judges are shown at last."""

import torch

from tools.tiny_pack import judging, layouts
from tools.tiny_pack.captions import Traits
from tools.tiny_pack.classifier import group_places
from tools.tiny_pack.training import keyed


def test_pictures_of_one_list_are_moved_alike_and_lists_apart():
    picture = torch.rand(2, 3, 64, 64, generator=keyed(0, 0))
    moved = judging.moved(torch.stack([picture, 0.5 * picture]), keyed(1, 1))
    torch.testing.assert_close(moved[1], 0.5 * moved[0])
    again = judging.moved(torch.stack([picture[:1].expand(2, -1, -1, -1)] * 2), keyed(1, 1))
    assert not torch.equal(again[0, 0], again[0, 1])
    assert moved.shape == (2, 2, 3, 64, 64)


def test_each_row_gets_one_of_its_own_fakes():
    fakes = [torch.arange(4.0).view(4, 1) + 10 * number for number in range(3)]
    rows = torch.tensor([3, 0, 3, 1] * 20)
    found = judging.drawn(fakes, rows, keyed(3, 0))
    assert torch.equal(found[:, 0] % 10, rows.float())
    assert {int(value // 10) for value in found} == {0, 1, 2}


def test_doubt_keeps_certainty_back():
    traits = [Traits("rose", "red"), Traits("rose", "red")]
    doubt = torch.tensor([0.05, 0.5])

    def loss(certainty: float) -> float:
        logits = torch.zeros(2, len(layouts.LABELS))
        for group, label in (("species", "species:rose"), ("color", "color:red")):
            places = group_places(group)
            others = torch.tensor((1 - certainty) / (len(places) - 1)).log()
            logits[:, places] = others
            logits[:, layouts.LABELS.index(label)] = torch.tensor(certainty).log()
        return float(judging.doubtful_loss(logits, traits, doubt))

    # Together they are best served by the mean of what either may be certain of.
    assert loss(0.725) < loss(0.95)
    assert loss(0.725) < loss(0.5)
