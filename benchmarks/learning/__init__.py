"""The paper's Table 3 in miniature: what stage 1, stage 2 and both do for a model of flowers. See ``PROTOCOL.md``."""
