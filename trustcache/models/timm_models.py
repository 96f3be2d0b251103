"""timm's models by name, with their published weights from this machine or the network, and what keeps them away."""

from __future__ import annotations

import difflib
import http.client
import ssl
import threading
import urllib.error
import urllib.request
from contextlib import nullcontext
from typing import Any
from unittest import mock

from torch import nn

from trustcache.errors import UsageError, kind_and_line
from trustcache.models.zoo.registry import BUILT_IN

# The paper's two models, by timm's names for their weights.
PAPER_MODELS = {"vit": "vit_base_patch16_384.orig_in21k_ft_in1k", "resnet": "resnet50.tv_in1k"}
HUB_TIMEOUT_S = 5.0
_HUB_SCHEMES, _LOCAL_SCHEME = ("hf_hub:", "hf-hub:"), "local-dir:"  # timm's own


def architecture(name: str) -> str:
    """The full name behind `vit` and `resnet`; any other name is its own."""
    return PAPER_MODELS.get(name, name)


def has_scheme(name: str) -> bool:
    """Whether a name with a colon is timm's way to say where a model lies."""
    return name.startswith((*_HUB_SCHEMES, _LOCAL_SCHEME))


def timm_model(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """A model of timm's, with its published weights where `pretrained`.

    Raises UsageError for an unknown name and for weights that cannot be had, and what timm raises for arguments that
    do not fit.
    """
    model: Any = _created(name, pretrained, arguments)
    if side := arguments.get("img_size"):  # timm's own configuration stays at the size of the published weights
        sides = (side, side) if isinstance(side, int) else tuple(side)
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, *sides)}
    return model


def _created(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    import timm

    full = architecture(name)
    if full.startswith(_HUB_SCHEMES):
        return _fetched(full, pretrained, arguments)
    if not full.startswith(_LOCAL_SCHEME):
        if not _timm_knows(full):
            names = [*PAPER_MODELS, *BUILT_IN, *timm.list_models(), *timm.list_models(pretrained=True)]
            near = difflib.get_close_matches(full, names, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise UsageError(
                f"--classifier {name}: neither vit, resnet, cifar-resnet20/32/44/56/110, mnist-convnet, cifar-vgg16, "
                f"a timm model, nor package.module:function{hint}"
            )
        if pretrained and not timm.is_model_pretrained(full):
            raise UsageError(f"--classifier {name}: has no published weights to fetch; pass yours with --weights FILE")
        if pretrained:
            return _fetched(full, pretrained, arguments)
    return timm.create_model(full, pretrained=pretrained, **arguments)


def _timm_knows(name: str) -> bool:
    import timm

    try:
        return timm.is_model(name) and ("." not in name or timm.get_pretrained_cfg(name) is not None)
    except RuntimeError:  # a tag that this architecture has not
        return False


def _fetched(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """A timm model for which something must be fetched, from the local hub cache or the network."""
    import timm
    from huggingface_hub import constants

    online = not constants.HF_HUB_OFFLINE and _answers(constants.ENDPOINT)
    try:
        # By itself the hub's client tries for most of a minute to reach a network that is not there.
        with nullcontext() if online else mock.patch.object(constants, "HF_HUB_OFFLINE", True):
            return timm.create_model(name, pretrained=pretrained, **arguments)
    except (TypeError, AssertionError, RuntimeError):
        raise
    except Exception as error:  # the hub, its HTTP client and the files' formats each have errors of their own
        cause = kind_and_line(_root(error)) if online else f"{constants.ENDPOINT} cannot be reached"
        raise UsageError(
            f"--classifier {name}: its weights are neither on this machine nor could they be downloaded ({cause}); "
            f"fetch {_published_at(name)} on a machine with a network and pass it with --weights FILE"
        ) from error


def _published_at(name: str) -> str:
    """Where the weights of a timm model lie; for a name without a tag, its default's."""
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
    """Whether a server answers there within a few seconds, be it with a refusal; one that is out of order does not."""
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

    # In a thread, since looking up a name takes no time limit.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    return answered.is_set()
