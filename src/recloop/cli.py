"""The `recloop` command: each command is a thin skin over one function of the library."""

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recloop import clock, keys
from recloop.errors import ConfigError, RecloopError
from recloop.options import HERE, Root

if TYPE_CHECKING:
    from recloop.store import Store

app = typer.Typer(
    name="recloop",
    help="Keep personalised recommendation running: data in, models compared, the winner served, feedback back in.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(keys.app, name="keys")

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the record of deployments.")]
SIMULATION = Path("artifacts/simulation")
NO_CANARY = "There is no canary."
NO_SHADOW = "There is no shadow."


@app.command()
def ingest(
    source: Annotated[str | None, typer.Option(help="Where from, instead of 'ingest.source' in params.yaml.")] = None,
    root: Root = HERE,
) -> None:
    """Bring data in: write canonical tables to data/, and version them with DVC in data.dvc."""
    from recloop.config import load_params
    from recloop.ingestion import ingest as run_ingest
    from recloop.progress import track

    report = run_ingest(load_params(root / "params.yaml"), root, source=source, progress=track)
    rows = ", ".join(f"{count:,} {name}" for name, count in report.rows.items())
    print(f"{report.source}: {rows}; data version {report.version}{'' if report.changed else ' (unchanged)'}")


@app.command()
def run(
    stages: Annotated[
        list[str] | None, typer.Argument(help="Only these stages of dvc.yaml and what they need.")
    ] = None,
    *,
    force: Annotated[bool, typer.Option(help="Run stages even if nothing has changed.")] = False,
    root: Root = HERE,
) -> None:
    """Run the stages whose data, parameters or code have changed: the same as 'dvc repro'."""
    from recloop.turn import reproduce

    reproduce(root, stages or [], force=force)


@app.command()
def loop(root: Root = HERE, port: Port = 0) -> None:
    """One whole turn: ingest, run every stage, promote the winner, serve it, and fetch a recommendation."""
    from recloop.turn import turn

    turn(root, port=port)


@app.command()
def serve(root: Root = HERE, port: Port = 3000) -> None:
    """Serve the packaged model on 127.0.0.1 until interrupted."""
    from recloop.turn import serve_until_interrupted

    serve_until_interrupted(root, port)


@app.command()
def benchmark(  # noqa: PLR0917 - each option of the command line is one parameter
    train: Annotated[
        Path, typer.Option(help="Interactions to learn from: user_id, item_id, timestamp or position, value.")
    ],
    test: Annotated[Path, typer.Option(help="Interactions to predict.")],
    model: Annotated[str, typer.Option(help="Which model, for example ease.")],
    out: Annotated[Path, typer.Option(help="Where to write the report, as JSON.")],
    valid: Annotated[
        Path | None, typer.Option(help="Interactions between the two: for early stopping, then context.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="Attributes of items.")] = None,
    users: Annotated[Path | None, typer.Option(help="Attributes of users.")] = None,
    knowledge: Annotated[Path | None, typer.Option(help="Knowledge triples: head, relation, tail.")] = None,
    negatives: Annotated[
        Path | None, typer.Option(help="user_id and a list 'negatives' to rank the test item among.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for the model; repeat for more.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="Comma-separated metrics.")] = "recall@20,ndcg@20",
    seed: Annotated[int, typer.Option(min=0, help="Seed of every draw.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints: ended at any moment, the same command goes on.")
    ] = None,
) -> None:
    """Train one model on one file and rank the whole catalogue for every user of another."""
    from recloop.benchmark import run as run_benchmark

    report = run_benchmark(
        train=train,
        test=test,
        valid=valid,
        items=items,
        users=users,
        knowledge=knowledge,
        negatives=negatives,
        model=model,
        settings=settings or [],
        metrics=tuple(name.strip() for name in metrics.split(",")),
        seed=seed,
        device=device,
        out=out,
        checkpoint=checkpoint,
    )
    for name, value in report["metrics"].items():
        bounds = report["ci95"].get(name)
        print(f"{name:<22} {value:.4f}" + (f"  [{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else ""))


@app.command()
def tune(
    model: Annotated[str, typer.Argument(help="Which model, for example ease.")],
    trials: Annotated[
        int, typer.Option(min=1, help="How many trials the study shall hold, earlier ones included.")
    ] = 20,
    storage: Annotated[
        str | None, typer.Option(help="Database of the studies, as a SQLAlchemy URL; default: artifacts/tuning.")
    ] = None,
    *,
    write: Annotated[bool, typer.Option(help="Write the best parameters to params.yaml.")] = True,
    root: Root = HERE,
) -> None:
    """Search for a model's best parameters on the validation part; killed, it goes on where it was."""
    from recloop.progress import track
    from recloop.tuning import FOLDER
    from recloop.tuning import tune as run_tune

    found = run_tune(root, model, trials=trials, storage=storage, write=write, progress=track, tell=print)
    before = "" if found.first is None else f" ({found.first:.4f} with the parameters before)"
    print(f"{model}: {found.metric} {found.value:.4f} on validation{before}; {found.trials} trials in {FOLDER / model}")
    print(f"best: {', '.join(f'{name}={value}' for name, value in found.parameters.items())}")


@app.command()
def status(
    root: Root = HERE, *, as_json: Annotated[bool, typer.Option("--json", help="Print everything, as JSON.")] = False
) -> None:
    """Which model is in charge, since when and why, and how many events the store holds."""
    from recloop.loop.deployments import status as read_status
    from recloop.store import Store

    with Store.open(root=root) as store:
        state = read_status(root, store)
    if as_json:
        print(json.dumps(state, indent=2, sort_keys=True))
    else:
        _print_status(state)


@app.command()
def promote(reason: Reason = "promoted by hand", root: Root = HERE) -> None:
    """Make the packaged bundle the champion."""
    from recloop.loop.deployments import promote as run_promote
    from recloop.store import Store

    with Store.open(root=root) as store:
        print(run_promote(root, store, reason=reason).message)


@app.command()
def rollback(reason: Reason = "rolled back by hand", root: Root = HERE) -> None:
    """Go back to the champion before this one."""
    from recloop.loop.deployments import rollback as run_rollback
    from recloop.store import Store

    with Store.open(root=root) as store:
        print(run_rollback(root, store, reason=reason).message)


@app.command()
def forget(
    user: Annotated[str | None, typer.Option(help="Id of a person, as it stands in the data.")] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Instead: events of the store that the data hold and that are older, as 365d.")
    ] = None,
    asked_by: Annotated[
        str, typer.Option(help="Who asked; kept with the record, so name no user id here.")
    ] = "the command line",
    root: Root = HERE,
) -> None:
    """Erase a person from the store and the data, and say what still holds them; run again, it completes itself."""
    from recloop.config import load_params
    from recloop.people import age, expire
    from recloop.people import forget as run_forget
    from recloop.progress import track

    if (user is None) == (older_than is None):
        raise ConfigError("Either a person or an age is forgotten; give --user ID or --older-than 365d.")
    params = load_params(root / "params.yaml")
    if older_than is not None:
        expired = expire(params, root, age(older_than), asked_by, now=clock.now())
        print(f"gone from the store: {expired.counts['events']:,} events, which the data hold")
    else:
        assert user is not None
        print("\n".join(run_forget(params, root, user, asked_by, progress=track).sentences()))


@app.command()
def canary(
    share: Annotated[float, typer.Option(help="Of the users, between 0 and 1.")] = 0.05,
    bundle: Annotated[Path | None, typer.Option(help="The challenger's folder; default: artifacts/bundle.")] = None,
    reason: Reason = "tried by hand",
    *,
    interleave: Annotated[
        bool, typer.Option("--interleave", help="Show them slates that both models pick in turns.")
    ] = False,
    end: Annotated[bool, typer.Option("--end", help="End the canary instead.")] = False,
    review: Annotated[bool, typer.Option("--review", help="Judge the canary: promote it, end it, or go on.")] = False,
    root: Root = HERE,
) -> None:
    """Serve a share of the users by the packaged bundle, to compare it with the champion."""
    from recloop.loop import traffic
    from recloop.store import Store

    if end and review:
        raise ConfigError("--end and --review exclude one another; give one of them.")
    with Store.open(root=root) as store:
        if review:
            print(_review(root, store))
        elif end:
            current = store.traffic().canary
            told = traffic.end(root, store, bundle=current.bundle, reason=reason).message if current else NO_CANARY
            print(told)
        else:
            begun = traffic.begin_canary(
                root, store, share=share, reason=reason, bundle_folder=bundle, interleave=interleave
            )
            print(begun.message)


@app.command()
def shadow(
    bundle: Annotated[Path | None, typer.Option(help="The challenger's folder; default: artifacts/bundle.")] = None,
    reason: Reason = "tried by hand",
    *,
    end: Annotated[bool, typer.Option("--end", help="End the shadow instead.")] = False,
    root: Root = HERE,
) -> None:
    """Let the packaged bundle score every request without being shown."""
    from recloop.loop import traffic
    from recloop.store import Store

    with Store.open(root=root) as store:
        if end:
            current = store.traffic().shadow
            told = traffic.end(root, store, bundle=current.bundle, reason=reason).message if current else NO_SHADOW
            print(told)
        else:
            print(traffic.begin_shadow(root, store, reason=reason, bundle_folder=bundle).message)


@app.command()
def simulate(  # noqa: PLR0917 - each option of the command line is one parameter
    out: Annotated[Path, typer.Option(help="Folder for the report and the projects; made anew.")] = SIMULATION,
    regime: Annotated[
        list[str] | None, typer.Option(help="closed (the loop decides), daily, never; repeat for more. Default: all.")
    ] = None,
    day_count: Annotated[int | None, typer.Option("--days", min=1, help="Days to simulate.")] = None,
    shift: Annotated[int | None, typer.Option(help="Day at whose beginning tastes move; -1 for never.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the world and its people.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the world or the replay; repeat for more.")
    ] = None,
    *,
    replay: Annotated[bool, typer.Option(help="Replay the newest events of data/ instead of making a world.")] = False,
    root: Root = HERE,
) -> None:
    """Let people use the running service for days while the flows work, and report what the loop was worth."""
    from recloop.benchmark.options import read_settings
    from recloop.config import parse
    from recloop.simulation.report import sentences
    from recloop.simulation.run import REGIMES, ReplayConfig, TasteConfig
    from recloop.simulation.run import simulate as run_simulation

    given = {"days": day_count, "shift": shift, "seed": seed}
    values = {name: value for name, value in given.items() if value is not None} | read_settings(settings or [])
    if values.get("shift") == -1:
        values["shift"] = None
    config = parse(ReplayConfig if replay else TasteConfig, values, "recloop simulate")
    found = run_simulation(root, out, config, regimes=regime or REGIMES, tell=print)
    print("\n".join(sentences(found, values.get("shift", None if replay else TasteConfig().shift))))
    print(f"Report: {out / 'report.html'}")


def _review(root: Path, store: "Store") -> str:
    from recloop.config import load_params, parse, section
    from recloop.loop.canary import CanaryConfig, review

    params = root / "params.yaml"
    values = section(load_params(params), "canary") if params.is_file() else {}
    found = review(root, store, parse(CanaryConfig, values, "params.yaml: canary"), now=clock.now())
    return found.message if found else NO_CANARY


def _print_status(state: dict[str, Any]) -> None:
    champion = state["champion"]
    print(
        f"champion: {champion['model']} ({champion['bundle']}) since {champion['timestamp']}: {champion['reason']}"
        if champion
        else "champion: none yet; run 'recloop loop'"
    )
    for part in ("canary", "shadow"):
        if challenger := state[part]:
            share = f", {challenger['share']:.1%} of the users" if "share" in challenger else ""
            both = ", interleaved with the champion" if challenger.get("interleaved") else ""
            print(f"{part}: {challenger['model']} ({challenger['bundle']}){share}{both}")
    if review := state["review"]:
        bundle, reason = review["record"]["plan"]["canary"]["bundle"], review["record"]["reason"]
        print(f"canary {bundle} judged at {review['timestamp']}: {review['verdict']}. {reason}")
    if not state["agree"]:
        pointed = state["pointer"]["bundle"] if state["pointer"] else "nothing"
        print(f"artifacts/champion/champion.json names {pointed}, not the champion; run the interrupted command again.")
    if cost := state["privacy"]:
        private, others = len(cost["private"]), len(cost["others"])
        print(
            f"privacy: epsilon {cost['epsilon']:.3g} and delta {cost['delta']:.2g} for each person, over {private} "
            f"bundle{'s' if private > 1 else ''}"
            if not others
            else "privacy: nothing bounds what was let out about people: of the bundles in traffic, "
            f"{others} {'were' if others > 1 else 'was'} trained without"
        )
    print(f"events in the store: {state['events']:,}")
    for row in state["history"][-5:]:
        print(f"{row['timestamp']}  {row['action']:<9} {row['model']:<12} {row['bundle']}  {row['reason']}")


def main() -> None:
    """Run the command line; what a caller got wrong is one sentence on standard error and status 2.

    A request to terminate ends the command as an interrupt does: what it started is stopped too.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except RecloopError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        what = error.filename or "A file or connection"
        print(f"error: {what} cannot be used ({error.strerror or error}); correct that and run again.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
