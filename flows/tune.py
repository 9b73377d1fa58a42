"""A search for one model's best parameters, with its trials as a table in the UI."""

import csv
import sys
from typing import Annotated

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed, State
from pydantic import Field

from flows import project
from flows.forms import choices
from flows.project import exclusive
from flows.stages import run_stages
from recloop import models as families
from recloop.data.tables import read_json
from recloop.errors import RecloopError
from recloop.processes import environment
from recloop.tuning import FOLDER

TunedModel = choices("TunedModel", families.names(), keep=None)


@flow(name="tune")
def tune(*, model: TunedModel, trials: Annotated[int, Field(ge=1, le=1000)] = 20, write: bool = True) -> State:
    """Search for a model's best parameters on the validation part, as 'recloop tune' does.

    A study that was cut short goes on where it was. The stages validate and split are brought up to date first.

    Args:
        model: Which model to tune.
        trials: How many trials the study shall hold, earlier ones included.
        write: Write the best parameters to params.yaml, for the next training.
    """
    log = get_run_logger()
    try:
        with exclusive(log) as working:
            run_stages(working, only=["validate", "split"])
            words = ["tune", str(model), "--trials", str(trials), "--write" if write else "--no-write"]
            command = [sys.executable, "-m", "recloop.cli", *words]
            status, last = project.run(command, working, env=environment(), folder=working.root, log=log)
            if status:
                return Failed(message=last.removeprefix("error: "))
            folder = working.root / FOLDER / str(model)
            best = read_json(folder / "best.json")
            with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
    except RecloopError as error:
        return Failed(message=str(error))
    create_table_artifact(
        key=f"tune-{str(model).replace('_', '-')}",
        table=rows,
        description=f"Trial {best['trial']} is the best. Plot of the search: {folder / 'history.html'}",
    )
    return Completed(message=last)
