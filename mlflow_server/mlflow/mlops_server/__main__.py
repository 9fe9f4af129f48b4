"""The image's command: `python -m mlops_server VERB`. Every verb reads its values from the environment."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from . import settings
from .settings import Database, ObjectStore, Refusal, Web

_RARE = ("removed", "repaired")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Parameters
    ----------
    arguments
        Those of the command line, unless given.

    Returns
    -------
    int
        0, or 1 after one line that says why not.
    """
    chosen = _parser().parse_args(arguments)
    _quiet(os.environ)
    try:
        return int(chosen.run(chosen, os.environ) or 0)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
    except Exception as error:
        if os.environ.get("MLOPS_TRACEBACK"):
            raise
        # The first line only: what follows in a database's error is the statement with its values.
        first = (str(error).strip().splitlines() or [""])[0]
        print(f"{type(error).__name__}: {first} (MLOPS_TRACEBACK=1 shows where.)", file=sys.stderr)
    return 1


def _check(_: argparse.Namespace, env: Mapping[str, str]) -> int:
    found = settings.problems(env)
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


def _migrate(chosen: argparse.Namespace, env: Mapping[str, str]) -> int:
    from . import accounts, database, schema

    db = Database.read(env)
    engine = database.connect(db)
    if chosen.status:
        print(json.dumps(schema.status(engine).document()))
        return 0
    web = Web.read(env)
    with database.alone(engine, db.name):
        with engine.connect() as connection:
            if not database.speaks_utf8mb4(connection):
                raise Refusal(
                    f"The database {db.name} does not store every character. Run, as its administrator: "
                    f"ALTER DATABASE `{db.name}` CHARACTER SET utf8mb4"
                )
        state = schema.status(engine).state
        if state == "empty":
            print("Making the schema in the empty database.")
            schema.create(engine)
        elif state == "behind" and not chosen.empty_only:
            print("Upgrading the schema.")
            schema.upgrade(engine)
        elif state != "current":
            raise Refusal(schema.REASONS[state])
        accounts.ensure_probe(engine, db, web)
    print("The schema is current.")
    return 0


def _seed(_: argparse.Namespace, env: Mapping[str, str]) -> int:
    from . import bucket

    keys = env.get("MINIO_KEYS") or "create"
    if keys not in ("create", "existing"):
        raise Refusal("MINIO_KEYS is neither create nor existing.")
    store = ObjectStore.read(env)
    bucket.seed(ObjectStore.read_root(env), store, make_key=keys == "create")
    print(f"The bucket {store.bucket} is there, private, and its key reaches nothing else.")
    return 0


def _serve(chosen: argparse.Namespace, env: Mapping[str, str]) -> int:
    from .serve import serve

    serve(Database.read(env), ObjectStore.read(env), Web.read(env), chosen.host, chosen.port)
    return 0


def _health(chosen: argparse.Namespace, env: Mapping[str, str]) -> int:
    from . import health

    health.check(chosen.url, Web.read(env), ObjectStore.read(env))
    return 0


def _objects(chosen: argparse.Namespace, env: Mapping[str, str]) -> int:
    from . import objects

    if chosen.action == "check":
        done = objects.check(chosen.folder)
    elif chosen.action == "save":
        done = objects.save(ObjectStore.read(env), chosen.folder, chosen.previous)
    else:
        done = objects.load(ObjectStore.read(env), chosen.folder)
    if chosen.json:
        print(json.dumps(asdict(done)))
        return 0
    more = "".join(f", {number} {name}" for name, number in asdict(done).items() if name in _RARE and number)
    print(f"{done.objects} objects, {done.bytes} bytes: {done.copied} copied, {done.unchanged} unchanged{more}.")
    return 0


def _user(chosen: argparse.Namespace, env: Mapping[str, str]) -> int:
    from .accounts import Accounts
    from .database import connect

    db = Database.read(env)
    people = Accounts(connect(db), db)
    if chosen.action == "list":
        listed = people.list()
        if chosen.json:
            print(json.dumps(listed))
        for one in [] if chosen.json else listed:
            print(f"{one['user']}{' (administrator)' if one['administrator'] else ''}")
        return 0
    if chosen.action == "remove":
        people.remove(chosen.name)
        answer, sentence = {"user": chosen.name}, f"{chosen.name} is removed; logins end within a minute."
    else:
        given = sys.stdin.readline().rstrip("\r\n") if chosen.password_stdin else None
        if chosen.action == "add":
            password = people.add(chosen.name, given, administrator=chosen.admin)
        else:
            password = people.change_password(chosen.name, given)
        shown = "" if given is not None else f" The password, shown this once: {password}"
        answer = {"user": chosen.name, **({} if given is not None else {"password": password})}
        sentence = f"{chosen.name} can log in.{shown}"
    print(json.dumps(answer) if chosen.json else sentence)
    return 0


def _share(chosen: argparse.Namespace, env: Mapping[str, str]) -> int:
    from .accounts import Accounts
    from .database import connect

    db = Database.read(env)
    Accounts(connect(db), db).share(chosen.experiment, chosen.user, chosen.level)
    print(f"{chosen.user}: {chosen.level} on {chosen.experiment}.")
    return 0


def _quiet(env: dict[str, str] | os._Environ[str]) -> None:
    # Docker hands a hospital's web proxy to every container; everything that we talk to is next door.
    for name in _PROXIES:
        env.pop(name, None)
        env.pop(name.lower(), None)
    env.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_CONFIGURE_LOGGING": "false"})
    warnings.simplefilter("ignore")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mlops_server", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    check = verbs.add_parser("check", help="name every variable that is not set, empty, an example or weak")
    check.set_defaults(run=_check)

    migrate = verbs.add_parser("migrate", help="make or upgrade the database's schema")
    how = migrate.add_mutually_exclusive_group()
    how.add_argument("--empty-only", action="store_true", help="make it in an empty database, never upgrade one")
    how.add_argument("--status", action="store_true", help="print where it stands as JSON, change nothing")
    migrate.set_defaults(run=_migrate)

    seed = verbs.add_parser("seed", help="make the private bucket and its key, and prove both")
    seed.set_defaults(run=_seed)

    serve = verbs.add_parser("serve", help="become MLflow's server")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=5000)
    serve.set_defaults(run=_serve)

    health = verbs.add_parser("health", help="fail with one line while the database or the object store is down")
    health.add_argument("--url", default="http://127.0.0.1:5000")
    health.set_defaults(run=_health)

    objects = verbs.add_parser("objects", help="copy the bucket into a folder, check the copy, or copy it back")
    actions = objects.add_subparsers(dest="action", required=True, metavar="ACTION")
    save = actions.add_parser("save")
    save.add_argument("--previous", type=Path, metavar="DIR", help="link what is unchanged since this backup")
    for action in (save, actions.add_parser("check"), actions.add_parser("load")):
        action.add_argument("folder", type=Path, metavar="DIR")
        action.add_argument("--json", action="store_true")
        action.set_defaults(run=_objects)

    user = verbs.add_parser("user", help="people's accounts")
    actions = user.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name in ("list", "add", "password", "remove"):
        action = actions.add_parser(name)
        action.add_argument("--json", action="store_true")
        action.set_defaults(run=_user)
        if name != "list":
            action.add_argument("name")
        if name in ("add", "password"):
            action.add_argument("--password-stdin", action="store_true", help="read it instead of making one")
        if name == "add":
            action.add_argument("--admin", action="store_true", help="may see and change everything")

    share = verbs.add_parser("share", help="let an account see, edit or manage an experiment")
    share.add_argument("experiment")
    share.add_argument("user")
    share.add_argument("level", choices=("READ", "EDIT", "MANAGE", "NONE"))
    share.set_defaults(run=_share)
    return parser


if __name__ == "__main__":
    sys.exit(main())
