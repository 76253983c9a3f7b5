"""Plug-ins out of the words of a command line: ``pickscore,imagereward`` and ``pickscore.model=tiny:pickscore``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pairwright import plugins
from pairwright.errors import Explained
from pairwright.options._base import Plugin, RewardPlugin
from pairwright.suggestions import hint


class WordError(Explained, ValueError):
    """Words that name no plug-in or option; the message says which and what there is."""


def rewards(words: Iterable[str], changes: Iterable[str] = (), also: Iterable[Plugin] = ()) -> tuple[Plugin, ...]:
    """Rewards as a command line names them, with their options.

    Args:
        words: names, several in one word with commas between them, or TOML tables ``{name = "pickscore", dtype = "float32"}``.
        also: more of them; one without options may be several names with commas, too.
        changes: assignments ``NAME.OPTION=VALUE``. The value is TOML; what is not TOML is text (``model=tiny:pickscore``).

    Raises:
        WordError: no name, one that is no reward, an option that it does not take, or a change to a reward that is not there.
    """
    chosen = [each for word in words for each in _plugins(word)]
    for plugin in also:
        chosen += [{"name": plugin.name, **plugin.options}] if plugin.options else _plugins(plugin.name)
    if not chosen:
        raise WordError(
            "name at least one reward: --with pickscore,imagereward." + hint("", plugins.names("rewards"), listed="There are")
        )
    for change in changes:
        name, option, value = _assignment(change)
        places = [place for place, each in enumerate(chosen) if each["name"] == name]
        if not places:
            named = [str(each["name"]) for each in chosen]
            raise WordError(f"--set {change}: no reward {name!r} is asked for." + hint(name, named, listed="There are"))
        for place in places:
            chosen[place] = {**chosen[place], option: value}
    adapter: TypeAdapter[Plugin] = TypeAdapter(RewardPlugin)
    return tuple(_checked(adapter, each) for each in chosen)


def value_of(text: str) -> Any:
    """A TOML value; what is none is text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _plugins(word: str) -> Sequence[dict[str, Any]]:
    if not word.lstrip().startswith("{"):
        return [{"name": name.strip()} for name in word.split(",") if name.strip()]
    table = value_of(word)
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise WordError(
            f'--with {word}: not a TOML table with a name; write for instance \'{{name = "pickscore", dtype = "float32"}}\''
        )
    return [table]


def _assignment(change: str) -> tuple[str, str, Any]:
    """The last dot before ``=`` ends the name: names of your own modules have dots."""
    left, equals, right = change.partition("=")
    name, dot, option = left.strip().rpartition(".")
    if not equals or not dot or not option:
        raise WordError(f"--set {change}: not an assignment; write for instance 'pickscore.model=tiny:pickscore'")
    return name, option, value_of(right.strip())


def _checked(adapter: TypeAdapter[Plugin], table: dict[str, Any]) -> Plugin:
    try:
        return adapter.validate_python(table)
    except plugins.PluginError as error:
        raise WordError(str(error)) from error
    except ValidationError as error:
        raise WordError("; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())) from error
