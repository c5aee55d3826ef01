"""Making what a run needs before it starts: exported networks, checked weights.

Export needs torch and a gigabyte of memory for some seconds, once for each version of the
models; it happens in a process of its own, so that the run itself stays small.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable

from sightsound.models.bundle import Bundle, load_bundle
from sightsound.models.engines.base import choose_engine_name, create_engine
from sightsound.models.errors import EngineError, ModelError, WeightsNotFoundError
from sightsound.pipeline.config import Config
from sightsound.pipeline.decoding import check_backend
from sightsound.pipeline.slices import network_specs


def check_weights(bundle: Bundle) -> None:
    """Raise a ModelError naming the weight files of the bundle that are missing, or one wrong."""
    backbones = (*bundle.visual, *bundle.audio)
    missing = [backbone.weights for backbone in backbones if backbone.weights.find() is None]
    if len(missing) > 1:
        files = ", ".join(weights.file for weights in missing)
        raise WeightsNotFoundError(f"{files} were not found: {missing[0].remedy()}.")
    for backbone in backbones:
        backbone.weights.path()


def prepare(config: Config, bundle: Bundle, *, say: Callable[[str], None]) -> None:
    """See that every network can be loaded quickly, exporting those that are new.

    Raises:
        ModelError: weights are missing or wrong, or a network cannot be exported.
        ConfigError: the decoder that is asked for does not load here.
    """
    check_backend(config)
    check_weights(bundle)
    if choose_engine_name(config.engine_options()) != "openvino":
        return
    missing = missing_exports(config, bundle)
    if not missing:
        return
    say(f"Preparing {', '.join(missing)} for this processor (once; some seconds each) ...")
    # -c and not -m: the settings go through standard input, whatever they hold.
    command = [sys.executable, "-c", "from sightsound.pipeline.prepare import main; main()"]
    done = subprocess.run(
        command, input=config.to_yaml(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError(
            f"The models could not be prepared for OpenVINO ({last}): run 'sightsound doctor', "
            "or set inference.engine to torch."
        )


def missing_exports(config: Config, bundle: Bundle) -> list[str]:
    """The names of the networks that OpenVINO has no exported form of yet."""
    from sightsound.models.engines.openvino_engine import OpenVinoEngine

    engine = OpenVinoEngine(config.engine_options())
    return [spec.name for spec in network_specs(config, bundle) if not engine.is_exported(spec)]


def main() -> None:
    """Export what a configuration on standard input needs (the child process's side)."""
    import yaml

    warnings.filterwarnings("ignore")
    config = Config.model_validate(yaml.safe_load(sys.stdin.read()))
    engine = create_engine(config.engine_options())
    try:
        for spec in network_specs(config, load_bundle(config.model)):
            engine.load(spec)
    except ModelError as error:
        sys.exit(str(error))
