"""Read nets of the built-in architectures, and find the reader of the user's own modules."""

from __future__ import annotations

from torch import nn

from forebay.models.artefacts.backend_files import MAX_WEIGHTS_BYTES, WEIGHTS_FILE
from forebay.models.artefacts.draft_checks import type_name
from forebay.models.artefacts.fit import check_fit
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.backends.torch.architectures import Net, model_shape
from forebay.models.backends.torch.validation import check_net
from forebay.models.backends.torch.weights import dump_weights
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.hints import Hints
from forebay.models.registration.own_torch import read_module
from forebay.schemas.errors import ModelError


def read_net(net: object, hints: Hints) -> Candidate:
    """Return the candidate of a net that `forebay.build_net` made.

    Raises ModelError for other objects, and if it does not fit the hints: the net knows only the number of its inputs.
    """
    check_net(hints.name, net)
    assert isinstance(net, Net)
    shape = model_shape(net)
    signature = hints.stated_signature(shape.output_dim)
    preprocessing = Preprocessing.identity() if hints.preprocessing is None else hints.preprocessing
    check_fit(shape, signature, preprocessing, f"model {hints.name!r}")
    return Candidate(
        "torch",
        files={WEIGHTS_FILE: dump_weights(hints.name, net, MAX_WEIGHTS_BYTES)},
        signature=signature,
        preprocessing=preprocessing,
        outputs=hints.outputs,
        params=net.params,
        architecture=net.architecture,
    )


def read_own_module(module: object, hints: Hints) -> Candidate:
    """Return the candidate of a trained torch module of the user's own class, built with `hints.arguments`.

    Raises ModelError for other objects of torch, such as a state_dict or a class, and as `read_module` does.
    """
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"model {hints.name!r}: this is a {type_name(type(module))}; allowed are trained torch.nn.Module",
            kind="registration",
            remedy="give the trained module itself",
        )
    return read_module(module, hints, arguments=hints.arguments)
