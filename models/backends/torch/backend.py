"""The backend `torch`: nets of the built-in architectures."""

from __future__ import annotations

from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.backend_files import WEIGHTS_FILE
from forebay.models.artefacts.fit import check_fit
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.repository import MANIFEST_FILE
from forebay.models.backends.precision import require_fp32
from forebay.models.backends.protocol import Runner, RunOptions
from forebay.models.backends.torch.architectures import Net, model_shape, outline
from forebay.models.backends.torch.cuda.build import cuda_runner
from forebay.models.backends.torch.device import limit_threads, resolve_device
from forebay.models.backends.torch.runner import TorchRunner
from forebay.models.backends.torch.weights import load_weights
from forebay.schemas.errors import ModelError


class TorchBackend:
    """Builds runners of the built-in architectures. Implements `Backend`."""

    def check(self, manifest: Manifest, place: str) -> None:
        """Raise ModelError unless the architecture fits the signature. Allocates no memory for weights."""
        check_fit(model_shape(_outline(manifest, place)), manifest.signature, manifest.preprocessing, place)

    def build(self, artefact: Artefact, options: RunOptions) -> Runner:
        """Load the weights and move the net to the device. Raises ModelError that names the file."""
        device = resolve_device(options.device)
        limit_threads(options.threads)
        if device.type == "cuda":
            return cuda_runner(load_net(artefact), device, artefact.manifest, options, is_own_code=False)
        require_fp32(options, f"the model runs on {device}")
        return TorchRunner(load_net(artefact), device)


def load_net(artefact: Artefact) -> Net:
    """Return the net of an artefact, in evaluation mode, on the CPU. Raises ModelError that names the file."""
    net = _outline(artefact.manifest, str(artefact.directory / MANIFEST_FILE))
    return load_weights(net, artefact.contents[WEIGHTS_FILE], str(artefact.directory / WEIGHTS_FILE))


def _outline(manifest: Manifest, place: str) -> Net:
    try:
        return outline(manifest.architecture, manifest.params)
    except ModelError as error:
        raise ModelError(f"{place}: {error.message}", kind=error.kind, remedy=error.remedy) from None
