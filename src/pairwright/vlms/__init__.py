"""Vision-language models in this process, through transformers: they are shown pictures, asked in words, and answer in words.

On the ground, since scorers, critics and instructors stand on them.
"""
