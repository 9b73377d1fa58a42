"""The commands `recloop keys ...`: who may ask the service for what."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from recloop.options import HERE, Root

app = typer.Typer(
    no_args_is_help=True, help="Make, list and revoke the API keys of the service, and read who did what."
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose the key is or what for; no personal data.")],
    scope: Annotated[list[str], typer.Option(help="recommend, feedback or admin; repeat for more.")],
    rate: Annotated[
        float | None, typer.Option(help="Requests a second that it may make of each worker; default: no limit.")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(help="Requests at once after a pause; default: those of one second.")
    ] = None,
    root: Root = HERE,
) -> None:
    """Make a key and print it, once: the store keeps only its digest."""
    from recloop.store import Store

    with Store.open(root=root) as store:
        key, text = store.create_key(name, scope, rate=rate, burst=burst)
    typer.echo(f"Key {key.id} of '{key.name}' may {', '.join(key.scopes)}. It is shown now and never again:", err=True)
    print(text)


@app.command(name="list")
def list_keys(root: Root = HERE) -> None:
    """All keys: id, scopes, limit, when they were made and revoked, name."""
    from recloop.store import Store

    with Store.open(root=root) as store:
        found = store.api_keys()
    for key in found:
        limit = "no limit" if key.rate is None else f"{key.rate:g}/s, {key.burst} at once"
        state = f"made {_time(key.created)}" + ("" if key.revoked is None else f", revoked {_time(key.revoked)}")
        print(f"{key.id}  {','.join(key.scopes)}  {limit}  {state}  {key.name}")
    if not found:
        print("There are no keys; make one with 'recloop keys create NAME --scope recommend'.")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as 'recloop keys list' shows it.")],
    root: Root = HERE,
) -> None:
    """Let a key count no longer; running services know it within seconds."""
    from recloop.store import Store

    with Store.open(root=root) as store:
        key = store.revoke_key(key_id)
    assert key.revoked is not None
    print(f"Key {key.id} of '{key.name}' does not count any longer, since {_time(key.revoked)}.")


@app.command()
def audit(
    limit: Annotated[int, typer.Option(min=1, help="How many rows, from the newest on.")] = 100, root: Root = HERE
) -> None:
    """Who erased people, made or revoked keys, or was refused it; newest first."""
    from recloop.store import Store

    with Store.open(root=root) as store:
        rows = store.audited(limit)
    for row in rows:
        print(f"{_time(row.timestamp)}  {row.actor}  {row.action}  {row.outcome}  {row.subject or '-'}")


def _time(moment: int) -> str:
    return datetime.fromtimestamp(moment // 1_000_000, UTC).isoformat()
