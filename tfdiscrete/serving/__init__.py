"""From a trained model to an answer over HTTP: SavedModels in TF Serving's layout, and a server for them."""

from tfdiscrete.serving.export import export_saved_model
from tfdiscrete.serving.rest import predict
from tfdiscrete.serving.server import name_models, serve
from tfdiscrete.serving.versions import find_model

__all__ = ["export_saved_model", "find_model", "name_models", "predict", "serve"]
