"""What cannot be built is refused, with file, line and section, before any memory is taken."""

from __future__ import annotations

import pytest

from layerscope.errors import ConfigError, OptionError
from layerscope.models.darknet import parse_config
from layerscope.models.darknet.shapes import check_size, plan

NET = "[net]\nwidth=32\nheight=64\nchannels=3\n"
CONV = "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=leaky\n"
HEAD = NET + "[convolutional]\nfilters=21\nsize=1\nstride=8\nactivation=linear\n"
YOLO = "[yolo]\nmask=0,1,2\nanchors=1,2,3,4,5,6\nnum=3\nclasses=2\n"

# Text, the line of the fault (0: not looked at), a part of the message.
BAD = {
    "a net without a size": ("[net]\nwidth=8\n" + CONV, 1, "height= is missing"),
    "a size of 0": ("[net]\nwidth=8\nheight=0\n" + CONV, 3, "height=0"),
    "a negative size": ("[net]\nwidth=-8\nheight=8\n" + CONV, 2, "width=-8"),
    "an enormous picture": ("[net]\nwidth=1000000\nheight=1000000\n" + CONV, 1, "the input would be"),
    "an unknown section": (NET + "[convolutionl]\n", 5, "did you mean 'convolutional'"),
    "an unsupported section": (NET + CONV + "[lstm]\n", 10, "section 1 [lstm]"),
    "no filters": (NET + "[convolutional]\nfilters=0\n", 6, "filters=0"),
    "negative filters": (NET + "[convolutional]\nfilters=-4\n", 6, "filters=-4"),
    "absurd filters": (NET + "[convolutional]\nfilters=1000000000\n", 5, "more than"),
    "an absurd kernel": (NET + "[convolutional]\nsize=1000001\npad=1\n", 5, "more than"),
    "a stride of 0": (NET + "[convolutional]\nstride=0\n", 6, "stride=0"),
    "a negative stride": (NET + "[convolutional]\nstride=-2\n", 6, "stride=-2"),
    "a negative stride_x": (NET + "[convolutional]\nstride_x=-2\n", 6, "stride_x=-2"),
    "a size of 0 of a kernel": (NET + "[convolutional]\nsize=0\n", 6, "size=0"),
    "a negative padding": (NET + "[convolutional]\npadding=-1\n", 6, "padding=-1"),
    "absurd padding": (NET + "[convolutional]\npadding=100000000\n", 5, "more than"),
    "a kernel larger than its input": (NET + "[convolutional]\nsize=33\n", 5, "does not fit"),
    "groups that do not divide": (NET + CONV + "[convolutional]\ngroups=4\nfilters=8\n", 11, "groups=4"),
    "groups that do not divide filters": (
        NET + CONV + "[convolutional]\ngroups=3\nfilters=8\n",
        11,
        "groups=3",
    ),
    "an unknown activation": (NET + "[convolutional]\nactivation=leeky\n", 6, "did you mean 'leaky'"),
    "a dilation of an even kernel": (NET + "[convolutional]\nsize=4\npad=1\ndilation=2\n", 8, "dilation=2"),
    "an unusual convolution": (NET + "[convolutional]\nxnor=1\n", 6, "xnor=1 is not supported"),
    "a connected layer without outputs": (NET + "[connected]\noutput=0\n", 6, "output=0"),
    "an absurd connected layer": (NET + "[connected]\noutput=1000000\n", 5, "more than"),
    "a pool larger than its input": (NET + "[maxpool]\nsize=40\npadding=2\n", 5, "does not fit"),
    "a pool with windows of padding alone": (NET + "[maxpool]\nsize=2\npadding=4\n", 7, "nothing inside"),
    "an absurd pool": (NET + "[maxpool]\nsize=100000\n", 5, "more than"),
    "an absurd upsample": (NET + "[upsample]\nstride=100000\n", 5, "more than"),
    "a reverse upsample": (NET + "[upsample]\nstride=-2\n", 6, "stride=-2"),
    "a reorg that does not divide": (NET + "[reorg]\nstride=3\n", 6, "stride=3"),
    "a reorg without channels enough": (NET + "[reorg]\nstride=2\n", 6, "multiple of 4 channels"),
    "a softmax whose groups do not divide": (NET + "[softmax]\ngroups=7\n", 6, "groups=7"),
    "a crop larger than its input": (NET + "[crop]\ncrop_height=65\n", 6, "crop_height=65"),
    "a route to itself": (NET + CONV + "[route]\nlayers=1\n", 11, "refers to itself"),
    "a route forward": (NET + CONV + "[route]\nlayers=2\n" + CONV, 11, "no layer before it"),
    "a route too far back": (NET + CONV + "[route]\nlayers=-2\n", 11, "layers=-2"),
    "a route of the first layer": (NET + "[route]\nlayers=-1\n", 6, "first layer has none"),
    "a route without layers": (NET + CONV + "[route]\n", 10, "layers= is missing"),
    "a route of unequal sizes": (
        NET + CONV + "[maxpool]\nstride=2\n[route]\nlayers=-1,0\n",
        13,
        "height and width",
    ),
    "a route whose groups do not divide": (NET + CONV + "[route]\nlayers=0\ngroups=4\n", 12, "groups=4"),
    "a group that is not there": (NET + CONV + "[route]\nlayers=0\ngroups=2\ngroup_id=2\n", 13, "group_id=2"),
    "a shortcut to itself": (NET + CONV + "[shortcut]\nfrom=1\n", 11, "refers to itself"),
    "a shortcut of unequal sizes": (NET + CONV + "[maxpool]\nstride=2\n[shortcut]\nfrom=0\n", 13, "64 x 32"),
    "a shortcut with alpha": (NET + CONV + CONV + "[shortcut]\nfrom=0\nalpha=2\n", 17, "alpha=2"),
    "unknown weights": (NET + CONV + "[shortcut]\nfrom=0\nweights_type=all\n", 12, "weights_type=all"),
    "scale_channels of a map": (NET + CONV + CONV + "[scale_channels]\nfrom=0\n", 15, "wanted is 6 x 1 x 1"),
    "a sam of unequal shapes": (NET + CONV + "[avgpool]\n[sam]\nfrom=0\n", 12, "must be equal"),
    "a detection layer alone": (NET + YOLO, 5, "needs a layer before it"),
    "a mask beyond the anchors": (HEAD + YOLO.replace("0,1,2", "0,1,3"), 11, "mask=3"),
    "too few anchors": (HEAD + YOLO.replace("num=3", "num=4"), 13, "num=4"),
    "an odd number of anchors": (HEAD + YOLO.replace(",6", ""), 12, "pairs"),
    "an anchor of no size": (HEAD + YOLO.replace(",6", ",0"), 12, "anchors"),
    "classes that do not fit the head": (HEAD + YOLO.replace("classes=2", "classes=3"), 10, "24 channels"),
    "absurd classes": (HEAD + YOLO.replace("classes=2", "classes=1000000000"), 10, "channels"),
    "a mask that does not fit the head": (HEAD + YOLO.replace("0,1,2", "0,1"), 10, "14 channels"),
    "a region with five coordinates": (HEAD + "[region]\nanchors=1,2\nnum=1\ncoords=5\n", 13, "coords=5"),
    "cells that do not divide the picture": (
        HEAD.replace("height=64", "height=66") + YOLO,
        10,
        "multiples of the network's largest stride",
    ),
}


def kind_at(text: str, line: int) -> str:
    """The section that a line belongs to."""
    headers = [content for content in text.splitlines()[:line] if content.startswith("[")]
    return headers[-1].strip("[]")


@pytest.mark.parametrize("case", BAD)
def test_a_bad_cfg_is_refused_with_file_line_and_section(case: str) -> None:
    text, line, part = BAD[case]
    with pytest.raises(ConfigError) as caught:
        plan(parse_config(text, "bad.cfg"))
    message = str(caught.value)
    assert message.startswith(f"bad.cfg:{line}: "), message
    assert part in message
    assert f"[{kind_at(text, line)}]" in message
    assert "\n" not in message


def test_the_parameters_of_all_layers_together_are_limited() -> None:
    text = NET.replace("64", "8") + "[connected]\noutput=20000\n" * 4
    with pytest.raises(ConfigError, match=r"bad\.cfg:11: section 3 .* the network has"):
        plan(parse_config(text, "bad.cfg"))


def test_sizes_are_checked_before_a_picture_runs() -> None:
    config = parse_config(HEAD + YOLO, "a.cfg")
    check_size(config, (24, 80))
    with pytest.raises(OptionError, match=r"size 20x20: .*multiples"):
        check_size(config, (20, 20))
    with pytest.raises(OptionError, match="size 0x8"):
        check_size(config, (0, 8))
    connected = parse_config(NET + "[connected]\noutput=5\n", "a.cfg")
    check_size(connected, (64, 32))
    with pytest.raises(OptionError, match=r"size 32x32: .*only fit the size in the cfg"):
        check_size(connected, (32, 32))
