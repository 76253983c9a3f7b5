"""LoRA files: read in every common spelling, written in diffusers', kohya's and ComfyUI's.

A LoRA is a mapping from the network's module names to :class:`Change`; what a file calls those modules is the business
of :mod:`.spellings`. Nothing in a file is executed.
"""

from pairwright.diffusion.lora_files.changes import Change, Changes, add, reduce
from pairwright.diffusion.lora_files.reading import METADATA_KEY, PEFT_CONFIG, read
from pairwright.diffusion.lora_files.spellings import Format, Place, Spellings, of
from pairwright.diffusion.lora_files.writing import FIELDS, SAI_MODEL_SPEC, content, settings, write

__all__ = [
    "FIELDS",
    "METADATA_KEY",
    "PEFT_CONFIG",
    "SAI_MODEL_SPEC",
    "Change",
    "Changes",
    "Format",
    "Place",
    "Spellings",
    "add",
    "content",
    "of",
    "read",
    "reduce",
    "settings",
    "write",
]
