"""The mathematics of alignment: processes, objectives, rollouts, sampling, adapters, and the families of models."""
