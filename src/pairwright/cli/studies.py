"""``pairwright study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pairwright import options
from pairwright.cli.arguments import Folder, app

studies = tyro.extras.SubcommandApp()
app.command(studies, name="study", help="Ask people which pictures they prefer, and say how sure the answer is.")

Study = Annotated[Path, tyro.conf.arg(metavar="STUDY", help="A study's folder, or the folder of a run with one study.")]
Address = Annotated[str, tyro.conf.arg(metavar="URL", help="Where raters reach the server; default: this machine alone.")]


@studies.command(name="create")
def create(
    run: tyro.conf.Positional[Folder],
    study: Annotated[options.Study, tyro.conf.arg(name="")],
    *,
    step: str = "pictures",
    name: str = "study",
) -> None:
    """Make a study out of the pictures of a run.

    Args:
        run: the run.
        study: what is asked, of whom.
        step: the generate step whose pictures are shown.
        name: of the study: its folder in the run's folder "studies".
    """
    from pairwright import run as runner
    from pairwright import study as studies_of
    from pairwright.store import Store

    print(studies_of.create(runner.result(run, step), Store(run.resolve().parent), run, name, study))


@studies.command(name="serve")
def serve(study: tyro.conf.Positional[Study], *, host: str = "127.0.0.1", port: int = 8765, address: Address = "") -> None:
    """Serve the raters' page until interrupted. Run again, it goes on: no acknowledged answer is lost.

    Args:
        study: which one.
        host: where to listen; the default is this machine alone. See docs/study.md before you open it to others.
        port: where to listen; 0 takes a free one.
        address: what the printed links begin with.
    """
    from pairwright import study as studies_of

    folder = studies_of.locate(study)

    def said(where: str) -> None:
        for whose, link in studies_of.links(folder, address or where):
            print(f"{whose:<11} {link}")
        print(f"listening on {where}", flush=True)

    studies_of.serve(folder, host=host, port=port, said=said)


@studies.command(name="links")
def links(study: tyro.conf.Positional[Study], *, address: Address = "http://127.0.0.1:8765") -> None:
    """List the raters' links and the researcher's."""
    from pairwright import study as studies_of

    for whose, link in studies_of.links(studies_of.locate(study), address):
        print(f"{whose:<11} {link}")


@studies.command(name="export")
def export(study: tyro.conf.Positional[Study], *, out: Path = Path("votes.csv")) -> None:
    """Write every vote as a row, also those that were undone.

    Args:
        study: which one.
        out: a .csv or .parquet file.
    """
    from pairwright import study as studies_of

    print(f"{out}: {studies_of.export(studies_of.locate(study), out)} votes")


@studies.command(name="report")
def report(
    study: tyro.conf.Positional[Study],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    attention: float = 0.6,
    repeats: float = 0.75,
    fast_seconds: float = 1.5,
) -> None:
    """Analyse the votes: majorities, intervals, agreement; into the run's report.html as well.

    Args:
        study: which one.
        resamples: of prompts and raters.
        confidence: of the intervals.
        seed: of the resamples.
        attention: flag raters who pass a smaller share of the attention checks.
        repeats: share of repeated pairs that a careful rater answers alike; flag who answers fewer alike than chance explains.
        fast_seconds: flag raters whose median time for a pair is shorter.
    """
    from pairwright import study as studies_of
    from pairwright.report import report

    folder = studies_of.locate(study)
    rules = studies_of.Rules(attention=attention, repeats=repeats, fast_seconds=fast_seconds)
    print(studies_of.report(folder, rules, studies_of.Bootstrap(resamples, confidence, seed)))
    run = folder.resolve().parent.parent
    print(report(run) if (run / "run.json").is_file() else folder / "analysis.md")
