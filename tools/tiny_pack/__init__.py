"""What made the tiny pack: small networks in the true layouts of the real models.

Run ``python -m tools.tiny_pack all --photos flowers-128.tar --out pack`` and every model of
the pack is trained from the photographs and written as its real counterpart is stored, so
that the same code loads both. Each stage resumes from its last checkpoint.
"""
