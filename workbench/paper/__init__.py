"""The paper's own room, on top: its models, data, tables and figures, made again. Nothing below imports it."""

from __future__ import annotations

from .models import estimator, make_sample, network, samples, save_network

__all__ = ["estimator", "make_sample", "network", "samples", "save_network"]
