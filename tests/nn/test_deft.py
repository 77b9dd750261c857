"""DeFT-Mamba: published sizes, clues that are the identity at first, spectra there and back, foreign key names."""

from dataclasses import replace

import pytest
import torch

from s5cli.nn.class_decoder import ClassDecoder, DecoderConfig, DualPath
from s5cli.nn.clues import FrameClue, ResFilm, modulated
from s5cli.nn.deft import DeftConfig, TargetExtractor, UniversalSeparator, current_names
from s5cli.nn.deft_block import Block, BlockConfig
from s5cli.weights import checkpoint

TINY = DeftConfig(width=8, blocks=1, heads=2, head_width=4, ffn_width=16, expand=2, mamba_head_width=4, states=4,
                  dropout=0.0, n_fft=128, hop_samples=64)  # fmt: skip
COMPACT = replace(TINY, patch_frames=2, patch_bins=5, features="spatial", output="share", object_kernel=1)


def sizes(module):
    return sum(p.numel() for p in module.parameters())


def test_published_sizes():
    with torch.device("meta"):
        separator = UniversalSeparator(DeftConfig())
        extractor = TargetExtractor(DeftConfig(frame_features=1280))
    block = separator.blocks[0]
    found = {
        "up_conv": sizes(separator.up_conv),
        "up_conv of an extractor": sizes(extractor.up_conv),
        "block": sizes(block),
        "gated convolution": sizes(block.intra_inv),
        "attention": sizes(block.intra_att.fn),
        "ffn": sizes(block.intra_ffw.fn),
        "Mamba-ffn": sizes(block.inter_ffw.fn),
        "object_conv": sizes(separator.object_conv),
        "audio decoder": sizes(separator.audio_conv),
        "Res-FiLM": sizes(extractor.clues.film) + sizes(extractor.clues.class_embed),
    }
    assert found == {
        "up_conv": 4800,
        "up_conv of an extractor": 8256,
        "block": 347_296,
        "gated convolution": 24_704,
        "attention": 65_600,
        "ffn": 33_088,
        "Mamba-ffn": 132_832,
        "object_conv": 222_336,
        "audio decoder": 1154,
        "Res-FiLM": 53_440,
    }
    assert round(separator.nparams / 1e6, 3) == 2.314
    assert round((extractor.nparams - sizes(extractor.clues)) / 1e6, 3) == 2.318
    of_frames = sizes(extractor.clues.tfilm) + sizes(extractor.clues.frames)
    assert 0.229e6 < of_frames < 0.235e6


def test_classifiers_are_of_the_published_size():
    with torch.device("meta"):
        decoder, dual = ClassDecoder(DecoderConfig()), DualPath(DecoderConfig())
    assert DecoderConfig().time_rows == 10
    assert 2.1e6 < sizes(decoder) < 2.45e6
    assert 3.3e6 < sizes(dual) < 3.9e6


def test_spectra_there_and_back():
    network, waveform = UniversalSeparator(DeftConfig(blocks=0)), torch.randn(1, 4, 32_000)
    back = network.synthesise(network.analyse(waveform), 32_000)
    torch.testing.assert_close(back, waveform, atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", [TINY, COMPACT], ids=["map", "share"])
@pytest.mark.parametrize("t", [1, 1000, 1024, 3001])
def test_stems_are_as_long_as_the_mixture(config, t):
    network = UniversalSeparator(config).eval()
    found = network(torch.randn(2, 4, t))
    assert found.waveforms.shape == (2, 6, t)
    assert found.objects.shape[:3] == (2, 3, 8)


def test_a_louder_mixture_gives_louder_stems():
    """All that happens between lies relative to the mixture's level."""
    network, mixture = UniversalSeparator(TINY).eval(), torch.randn(1, 4, 1024)
    found, louder = network(mixture).waveforms, network(100 * mixture).waveforms
    torch.testing.assert_close(louder, 100 * found, rtol=1e-2, atol=1e-3 * louder.abs().max().item())


def test_shares_of_one_channel_sum_to_the_mixture():
    network, mixture = UniversalSeparator(COMPACT).eval(), torch.randn(1, 4, 1024)
    torch.nn.init.zeros_(network.lean_conv.weight)
    torch.nn.init.zeros_(network.lean_conv.bias)
    torch.testing.assert_close(network(mixture).waveforms.sum(dim=1), mixture[:, 0], atol=1e-4, rtol=0)


def test_groups_and_checkpoints_change_nothing():
    torch.manual_seed(0)
    x = torch.randn(2, 6, 10, 8)
    found = []
    for group, checkpointing in ((0, False), (20, False), (1, True)):
        torch.manual_seed(1)
        config = BlockConfig(8, 2, 4, 16, 2, 4, 4, dropout=0.0, group_tokens=group, checkpointing=checkpointing)
        block = Block(config).train()
        given = x.clone().requires_grad_()
        out = block(given)
        out.square().sum().backward()
        found.append((out, given.grad, block.inter_ffw.fn.net[0].FC.weight.grad))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_clues_are_deaf_before_they_have_learned():
    """A block with zero FiLM is the plain block; an extractor that begins as a separator gives what that one gives."""
    x = torch.randn(1, 5, 4, 8)
    assert torch.equal(modulated(x, ResFilm(6, 8)(torch.randn(1, 6))), x)
    torch.manual_seed(0)
    separator = UniversalSeparator(TINY).eval()
    config = replace(TINY, frame_features=12)
    extractor = TargetExtractor(config).eval()
    extractor.load_state_dict(TargetExtractor.grown(separator.state_dict(), config))
    mixture, enrolments = torch.randn(1, 4, 1024), torch.randn(1, 3, 1024)
    classes, frames = torch.eye(54)[:1], torch.randn(1, 3, 9, 12)
    found = extractor(mixture, enrolments, classes, frames).waveforms
    torch.testing.assert_close(found, separator(mixture).waveforms, atol=1e-5, rtol=1e-4)


def learned(config):
    """An extractor whose clues count."""
    torch.manual_seed(0)
    network = TargetExtractor(config).eval()
    for film in (*network.clues.film, *(network.clues.tfilm or ())):
        torch.nn.init.normal_(film.weight, std=0.5)
    return network


@pytest.mark.parametrize("recurrent", ["none", "lstm"])
def test_every_clue_counts(recurrent):
    network = learned(replace(TINY, frame_features=12, frame_rnn=recurrent))
    mixture, enrolments, classes = torch.randn(1, 4, 1024), torch.randn(1, 3, 1024), torch.eye(54)[:1]
    frames = torch.randn(1, 3, 17, 12)
    plain = network(mixture, enrolments, classes, frames).waveforms
    others = {
        "class": (mixture, enrolments, torch.eye(54)[1:2], frames),
        "enrolment": (mixture, enrolments.flip(1), classes, frames),
        "frames": (mixture, enrolments, classes, frames.flip(2)),
        "no frames": (mixture, enrolments, classes, None),
    }
    for name, given in others.items():
        assert (network(*given).waveforms - plain).abs().max() > 1e-5, name


def test_frames_of_the_same_rate_are_taken_one_by_one():
    clue = FrameClue(4, 3, 2, recurrent=False)
    features = torch.randn(1, 3, 7, 4)
    told = clue(features, 7)
    assert told.shape == (1, 7, 6)
    torch.testing.assert_close(told[0, 3, 2:4], clue.proj(clue.norm(features[0, 1, 3])))
    assert not clue(torch.zeros(1, 3, 1, 4), 7).any(), "who hears nothing says nothing"


@pytest.mark.parametrize("paths", ["both", "object", "semantic"])
def test_paths_of_the_dual_classifier(paths):
    config = DecoderConfig(maps=4, bins=65, time_pools=((2, 5), (2, 1)), frequency_pools=((4, 5), (1, 1)), hidden=8,
                           recurrent=4, mlp=4, features=6, embedding=8)  # fmt: skip
    torch.manual_seed(0)
    network = DualPath(config).eval()
    maps, features = torch.randn(2, 4, 65, 50), torch.randn(2, 10, 6)
    plain = network(maps, features, paths)
    assert plain.logits.shape == (2, 18)
    assert plain.active.shape == (2,)
    by_maps = (network(maps.flip(0), features, paths).logits - plain.logits).abs().max() > 1e-4
    by_features = (network(maps, features.flip(0), paths).logits - plain.logits).abs().max() > 1e-4
    assert (by_maps, by_features) == (paths != "semantic", paths != "object")


def test_a_checkpoint_of_the_deep_asa_family_loads(tmp_path):
    """Its names: a wrapper's prefix, and older names of two layers."""
    config = replace(TINY, classifier="decoder", n_fft=256, hop_samples=128)
    network = UniversalSeparator(config)
    foreign = {}
    for name, tensor in network.state_dict().items():
        name = name.replace("object_conv.", "obj_conv.").replace("noise_conv.", "noise_conv_.")
        foreign[f"arch.{name}"] = tensor + 1
    names = {name.removeprefix("arch.") for name in foreign}
    for expected in (
        "up_conv.1.weight", "blocks.0.intra_norm.gamma", "blocks.0.intra_inv.Conv2.weight",
        "blocks.0.intra_att.fn.to_out.0.bias", "blocks.0.intra_ffw.fn.net.3.weight",
        "blocks.0.inter_ffw.fn.net.0.backward_blocks.0.mixer.A_log",
        "blocks.0.inter_ffw.fn.net.0.forward_blocks.0.norm.weight", "blocks.0.inter_ffw.fn.net.0.FC.weight",
        "SED_decoder.cnn_t.0.0.weight", "SED_decoder.cnn_t.0.1.bias", "SED_decoder.rnn_t.weight_ih_l0",
        "SED_decoder.onoff.2.weight", "SED_decoder.asp.linear3.weight", "obj_conv.2.weight", "interf_conv.bias",
    ):  # fmt: skip
        assert expected in names
    fresh = UniversalSeparator(config)
    fresh.load_state_dict(dict(current_names(foreign)), strict=True)
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name] + 1)
    torch.save(
        {"state_dict": {f"arch.{name}": tensor for name, tensor in network.state_dict().items()}}, tmp_path / "a.ckpt"
    )
    read = checkpoint.read(tmp_path / "a.ckpt")
    table = {"classifier": "decoder", "width": 8, "blocks": 1, "heads": 2, "head_width": 4, "ffn_width": 16,
             "expand": 2, "mamba_head_width": 4, "states": 4, "n_fft": 256, "hop_samples": 128}  # fmt: skip
    assert checkpoint.build_network(UniversalSeparator, read, table).nparams == network.nparams
