"""A split on disk, and prompts that are all different."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import photographs
from benchmarks.photographs import PhotographsError
from pairwright import plugins, prompts
from tools.tiny_pack.captions import BACKGROUNDS, COLOURS, FRAMINGS, SPECIES, Traits
from tools.tiny_pack.photographs import split_of


def flowers(count: int = 40, source: Path = Path()) -> photographs.Flowers:
    colours = ("red", "white", "pink")
    names = [f"images/{number:05d}.jpg" for number in range(count)]
    return photographs.Flowers(
        source, {name: Traits("rose", colours[place % 3], "green", "small") for place, name in enumerate(names)}
    )


def archive(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in ("metadata.jsonl", *names):
            stream = io.BytesIO()
            Image.new("RGB", (8, 8), (int(name[7:12]) if name in names else 0, 9, 9)).save(stream, "PNG")
            member = tarfile.TarInfo(f"flowers/{name}")
            member.size = stream.tell()
            stream.seek(0)
            tar.addfile(member, stream)
    return path


def test_a_split_becomes_a_folder_that_the_source_reads_with_captions(tmp_path: Path):
    names = list(flowers().traits)
    found = flowers(source=archive(tmp_path / "flowers.tar", names))
    place = photographs.folder(found, "base", tmp_path)
    assert photographs.folder(found, "base", tmp_path) == place
    pictures = list(plugins.load("sources", "imagefolder", path=place))
    assert [each.provenance["file"] for each in pictures] == [name for name in names if split_of(name) == "base"]
    assert {each.caption for each in pictures} <= {
        f"a small {colour} rose on a green background" for colour in ("red", "white", "pink")
    }
    assert pictures[0].provenance["license"].startswith("CC-BY")


def test_a_missing_photograph_is_named(tmp_path: Path):
    found = flowers(source=archive(tmp_path / "flowers.tar", list(flowers().traits)[:3]))
    with pytest.raises(PhotographsError, match=r"has no 'images/"):
        photographs.folder(found, "base", tmp_path)


def test_without_photographs_it_is_said_what_is_missing(tmp_path: Path):
    with pytest.raises(PhotographsError, match="--photos"):
        photographs.read(tmp_path / "flowers.tar")


def test_the_traits_that_are_kept_are_words_of_the_packs_grammar():
    found = photographs.read(Path(__file__))
    assert len(found.traits) == 3670
    words = {
        name: {getattr(each, name) for each in found.traits.values()} for name in ("species", "colour", "background", "framing")
    }
    assert words["species"] == set(SPECIES.values())
    assert words["colour"] <= {"", *COLOURS}
    assert words["background"] <= {"", *BACKGROUNDS}
    assert words["framing"] <= {"", *FRAMINGS}


def test_prompts_are_distinct_shortened_where_there_are_too_few_and_repeat_for_a_seed():
    full = photographs.distinct_captions(flowers(), "base", 3)
    assert sorted(full) == sorted(f"a small {colour} rose on a green background" for colour in ("red", "white", "pink"))
    more = photographs.distinct_captions(flowers(), "base", 12)
    assert more[:3] == full
    assert len(set(more)) == 12
    assert all("rose" in text for text in more)
    assert more == photographs.distinct_captions(flowers(), "base", 12)
    assert not set(photographs.distinct_captions(flowers(), "base", 5, without=full)) & set(full)
    with pytest.raises(PhotographsError, match="only 16 different captions"):
        photographs.distinct_captions(flowers(400), "base", 100)


def test_a_prompt_file_says_which_texts_are_known_and_is_read_in_order(tmp_path: Path):
    texts = ["a rose", "a red rose", "a rose"]
    path = photographs.write_prompts(tmp_path / "prompts.jsonl", texts, known={"a rose"})
    found = prompts.load(str(path))
    assert [(each.text, each.category) for each in found] == [("a rose", "known"), ("a red rose", "new"), ("a rose", "known")]
    assert len({each.id for each in found}) == 3
    assert json.loads(path.read_text().splitlines()[0]) == {"prompt": "a rose", "category": "known"}
