"""What a trained posterior does with its latent variables."""

from tfdiscrete.metrics.aggregate_posterior import AggregatePosterior, Codes
from tfdiscrete.metrics.codebook_usage import CodebookPerplexity, CodebookUsage
from tfdiscrete.metrics.information import Figure, Information, information
from tfdiscrete.metrics.posterior_usage import PosteriorUsage, posterior_usage
from tfdiscrete.metrics.streaming_usage import ActiveUnits, MarginalPerplexity
from tfdiscrete.metrics.usage import active_latents, active_units, codes_used, distinct_codes, latent_usage

__all__ = [
    "ActiveUnits",
    "AggregatePosterior",
    "CodebookPerplexity",
    "CodebookUsage",
    "Codes",
    "Figure",
    "Information",
    "MarginalPerplexity",
    "PosteriorUsage",
    "active_latents",
    "active_units",
    "codes_used",
    "distinct_codes",
    "information",
    "latent_usage",
    "posterior_usage",
]
