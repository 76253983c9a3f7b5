"""The tiny ControlNet's stage: what it begins as, and what it is shown."""

import random

import torch

from pairwright.advice import attributes
from tools.tiny_pack import layouts
from tools.tiny_pack.captions import Traits
from tools.tiny_pack.controlnet import asked, begun, controlled, controls, instruction
from tools.tiny_pack.training import keyed


def test_it_begins_as_the_base_and_adds_nothing() -> None:
    torch.manual_seed(0)
    base, network = layouts.unet().eval(), layouts.controlnet().eval()
    begun(network, base)
    latents, states, shown = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 128), torch.rand(2, 3, 64, 64)
    times = torch.tensor([10, 900])
    with torch.no_grad():
        plain = base(latents, times, encoder_hidden_states=states).sample
        assert torch.equal(controlled(base, network, shown)(latents, times, encoder_hidden_states=states).sample, plain)
        network.controlnet_mid_block.weight.fill_(0.1)
        changed = controlled(base, network, shown)(latents, times, encoder_hidden_states=states).sample
        assert not torch.allclose(changed, plain)
        again = controlled(base, network, shown, scale=0.0)(latents, times, encoder_hidden_states=states).sample
        assert torch.equal(again, plain)
    assert torch.equal(network.down_blocks[0].resnets[0].conv1.weight, base.down_blocks[0].resnets[0].conv1.weight)


def test_the_flower_is_dyed_and_what_lies_far_from_it_is_not() -> None:
    images = torch.rand(256, 3, 64, 64, generator=keyed(1, 0))
    saliency = torch.zeros(256, 1, 64, 64)
    saliency[..., 24:40, 24:40] = 1
    shown = controls(images, saliency, keyed(2, 0))
    assert shown.shape == images.shape
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert torch.equal(shown, controls(images, saliency, keyed(2, 0)))
    changed = (shown - images).abs().amax(1)
    inside, outside = changed[:, 28:36, 28:36].mean((1, 2)) > 0, changed[:, :8, :8].mean((1, 2)) > 0
    assert (inside & ~outside).sum() >= 10  # dyed alone: neither warped nor coarse
    assert (~inside & ~outside).sum() >= 3  # some are shown as they are
    assert not (~inside & outside).any()


def test_captions_end_in_the_instructors_words_half_of_the_time() -> None:
    texts = asked([Traits("rose", "red", "green", "photo")] * 400, keyed(3, 0))
    told = [text for text in texts if ", " in text]
    assert 130 < len(told) < 230
    assert 20 < texts.count("") < 65
    assert all(text.rpartition(", ")[2].startswith(("make the rose red", "turn the ")) for text in told)
    told_apart = {instruction(Traits("rose", "red"), random.Random(seed)) for seed in range(50)}
    sentence = attributes.Fault(attributes.Asked("rose", "red"), "colour", "white").sentence()
    assert attributes.instruction(sentence, 1) in told_apart
    assert "turn the daisy into a rose" in told_apart
