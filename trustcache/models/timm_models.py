"""timm's models by name, with their published weights from this machine or the network."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from trustcache.errors import UsageError, did_you_mean, kind_and_line
from trustcache.models.zoo.registry import MODELS, TIMM_SCHEMES, example_names

if TYPE_CHECKING:
    from torch import nn

PAPER_MODELS = {"vit": "vit_base_patch16_384.orig_in21k_ft_in1k", "resnet": "resnet50.tv_in1k"}
"""The paper's two models, by timm's names for their weights."""
HUB_TIMEOUT_S = 5.0
_HUB_SCHEMES = tuple(scheme for scheme in TIMM_SCHEMES if scheme.startswith("hf"))


def architecture(name: str) -> str:
    """Return timm's name of a model of the paper; any other name as it is."""
    return PAPER_MODELS.get(name, name)


def classifier_names() -> list[str]:
    """Return what `--classifier` takes beside timm's names, in words."""
    own = ["local-dir:FOLDER", "FILE.pt2", "FILE.py:function", "package.module:function"]
    return [*PAPER_MODELS, *MODELS.built_in, "any timm model", *own]


def timm_model(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """Return a model of timm's, with its published weights if `pretrained`.

    Raises UsageError for an unknown name and for weights that cannot be fetched. Errors of timm for arguments that do
    not fit pass through.
    """
    with _weights_only():
        model: Any = _created(name, pretrained, arguments)
    if side := arguments.get("img_size"):  # timm's own configuration stays at the size of the published weights
        sides = (side, side) if isinstance(side, int) else tuple(side)
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, *sides)}
    return model


def _created(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    import timm

    full = architecture(name)
    named = not full.startswith(TIMM_SCHEMES)
    if named and not _timm_knows(full):
        names = [*PAPER_MODELS, *example_names(), *timm.list_models(), *timm.list_models(pretrained=True)]
        takes, near = ", ".join(classifier_names()), did_you_mean(full, names)
        raise UsageError(f"--classifier {name}: unknown; it takes {takes}{near}")
    if named and pretrained and not timm.is_model_pretrained(full):
        raise unpublished(name)
    if (named and pretrained) or full.startswith(_HUB_SCHEMES):
        return _fetched(full, pretrained, arguments)
    return built_by_timm(name, pretrained, arguments)


FOR_REPRODUCE = "; trustcache reproduce takes them as"
"""Begins the part of a refusal that is no matter of oracles."""


def unpublished(name: str) -> UsageError:
    """Return the refusal of a model whose weights nobody publishes, which says which commands take them."""
    return UsageError(
        f"--classifier {name}: has no published weights to fetch; pass yours with --weights FILE{FOR_REPRODUCE} "
        f"--classifier '{name} --weights FILE'"
    )


def built_by_timm(name: str, pretrained: bool, arguments: Mapping[str, Any]) -> nn.Module:
    """Return a model by timm alone, from what is on this machine."""
    import timm
    from huggingface_hub import constants

    with _offline(constants):
        return timm.create_model(architecture(name), pretrained=pretrained, **arguments)


def projection_widths(model: nn.Module) -> set[int]:
    """Return the widths of the projections that CLIP's weights have for a timm model where others have a classifier."""
    import timm

    name = (getattr(model, "pretrained_cfg", None) or {}).get("architecture")
    tagged = timm.list_models(f"{name}.*", pretrained=True) if name else []
    # Those fitted on ImageNet afterwards are classifiers.
    towers = [n for n in tagged if ("clip" in n or "_pe_core_" in n) and not re.search(r"in\d+k", n)]
    configs: list[Any] = [timm.get_pretrained_cfg(n) for n in towers]
    return {config.num_classes for config in configs}


def _timm_knows(name: str) -> bool:
    import timm

    try:
        return timm.is_model(name) and ("." not in name or timm.get_pretrained_cfg(name) is not None)
    except RuntimeError:  # a tag that this architecture does not have
        return False


def _fetched(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """Return a timm model whose weights or configuration must be fetched, from the hub's local cache or the network."""
    import timm
    from huggingface_hub import constants

    online = not constants.HF_HUB_OFFLINE and _answers(constants.ENDPOINT)
    try:
        # Without this the hub's client tries for most of a minute to reach a missing network.
        with nullcontext() if online else _offline(constants):
            return timm.create_model(name, pretrained=pretrained, **arguments)
    except (TypeError, AssertionError, RuntimeError):
        raise
    except Exception as error:  # the hub, its HTTP client and the files' formats each have errors of their own
        cause = kind_and_line(_root(error)) if online else f"{constants.ENDPOINT} cannot be reached"
        raise UsageError(
            f"--classifier {name}: its weights are not on this machine and cannot be downloaded ({cause}); "
            f"fetch {_published_at(name)} on a machine with a network and pass it with --weights FILE"
        ) from error


@contextmanager
def _weights_only() -> Iterator[None]:
    """Have torch refuse checkpoints with code in them, also where an argument such as checkpoint_path names one.

    timm's releases differ in what they ask of torch, which reads these variables at each load.
    """
    ours = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _offline(constants: Any) -> Iterator[None]:
    """Have the hub's client use its local cache alone; it reads this constant at each request."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _published_at(name: str) -> str:
    """Return the file and address of a timm model's weights; for a name without a tag, those of its default tag."""
    import timm

    if name.startswith(_HUB_SCHEMES):
        return f"model.safetensors from https://huggingface.co/{name.partition(':')[2]}"
    config: Any = timm.get_pretrained_cfg(name)
    return f"model.safetensors from https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else f"{config.url}"


def _root(error: BaseException) -> BaseException:
    while error.__cause__:
        error = error.__cause__
    return error


def _answers(url: str) -> bool:
    """Return True if a server answers within `HUB_TIMEOUT_S`, even with a refusal; not if it is out of order (5xx)."""
    import http.client
    import ssl
    import urllib.error
    import urllib.request

    answered = threading.Event()

    def knock() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")  # goes through the proxy that the environment names
            urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S).close()
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                return
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ssl.SSLCertVerificationError):  # the hub's client has certificates too
                return
        except (OSError, ValueError, http.client.HTTPException):
            return
        answered.set()

    # In a thread, since the lookup of a host name has no timeout.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    return answered.is_set()
