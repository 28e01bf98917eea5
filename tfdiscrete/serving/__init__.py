"""From a trained model to an answer over HTTP: exports in TF Serving's layout and other formats, and a server."""

from tfdiscrete.serving.endpoints import endpoints_of
from tfdiscrete.serving.export import Export, export_model, export_saved_model
from tfdiscrete.serving.formats import FormatReport
from tfdiscrete.serving.rest import predict
from tfdiscrete.serving.server import name_models, serve
from tfdiscrete.serving.versions import find_model
from tfdiscrete.serving.warm_up import replay_warm_up

__all__ = [
    "Export",
    "FormatReport",
    "endpoints_of",
    "export_model",
    "export_saved_model",
    "find_model",
    "name_models",
    "predict",
    "replay_warm_up",
    "serve",
]
