"""What a trained posterior does with its latent variables."""

from tfdiscrete.metrics.usage import active_latents, active_units, codes_used, distinct_codes, latent_usage

__all__ = ["active_latents", "active_units", "codes_used", "distinct_codes", "latent_usage"]
