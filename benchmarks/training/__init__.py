"""How fast training is: ours against a plain rendering of the published loops, on the same networks, data and draws.

``python -m benchmarks.training`` measures on a CPU with a scaled-down Stable Diffusion 1.5; ``--device cuda --full-size sd15``
on a GPU with the real size. Weights are random.
"""
