"""The paper's own room: its models, data, tables and figures, made again. It stands on top: nothing below imports it."""

from __future__ import annotations

from .models import estimator, make_sample, network, samples, save_network

__all__ = ["estimator", "make_sample", "network", "samples", "save_network"]
