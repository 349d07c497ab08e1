"""``settings``: every setting with its meaning, its default and its present value, taken from where each is defined."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from penstock.cli.terminal import Status, examples, fail, out, print_json, reporting

if TYPE_CHECKING:
    from penstock.settings import Settings

commands = typer.Typer()

_SECRET = ("_API_KEY", "_SECRET_ACCESS_KEY", "_SESSION_TOKEN")


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable. ``default`` and ``value`` are texts for people; ``group`` is the room, empty for the whole program."""

    name: str
    group: str
    meaning: str
    default: str
    value: str
    changed: bool


@commands.command(
    "settings",
    rich_help_panel="Running it",
    epilog=examples("penstock settings processing", "penstock settings --json"),
)
@reporting
def show_settings(
    search: Annotated[
        str, typer.Argument(metavar="[WORD]", help="Only settings whose name contains this.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    page: Annotated[
        bool, typer.Option("--page", help="Print the page of the documentation (Markdown).")
    ] = False,
) -> None:
    """Explain every setting: meaning, default, present value. All are environment variables."""
    from penstock.settings import Settings

    found = [item for item in describe(Settings.load()) if search.upper() in item.name]
    if as_json:
        from dataclasses import asdict

        print_json([asdict(item) for item in found])
        return
    if not found:
        fail(
            f"No setting has '{search}' in its name; 'penstock settings' lists all.",
            code="setting_unknown",
            status=Status.NOT_FOUND,
        )
    if page:
        typer.echo(as_page(found), nl=False)
        return
    for item in found:
        changed = "  [yellow](set)[/]" if item.changed else ""
        out.print(f"[bold]{item.name}[/] = {escape(item.value)}{changed}")
        for line in textwrap.wrap(item.meaning, 100):
            out.print(f"    {line}", markup=False)


def describe(settings: "Settings") -> Iterator[Setting]:
    """Every setting, those of the whole program first."""
    from penstock.environment import PREFIX
    from penstock.settings import ROOMS, ClientSettings, settable

    for holder in (settings, ClientSettings()):
        meanings = documentation(type(holder))
        for name, field in type(holder).model_fields.items():
            default = None if field.default_factory is not None else field.default
            yield _setting(f"{PREFIX}{name.upper()}", "", meanings[name], default, getattr(holder, name))
    for room, (config, _) in ROOMS.items():
        meanings, values = documentation(config), settings.rooms()[room]
        for variable, item in settable(room).items():
            default = item.default if item.default is not MISSING else None
            yield _setting(variable, room.lower(), meanings[item.name], default, getattr(values, item.name))


def as_page(found: Iterable[Setting]) -> str:
    """Markdown: the page of the documentation, which states defaults and no present values."""
    lines = [
        "# Settings",
        "",
        "Every setting is an environment variable, or a line of the file that `PENSTOCK_SETTINGS_FILE` names; none needs to be set.",
        "A misspelt one is refused at start, and so are settings that contradict each other. `penstock settings` shows the present values. This page is written by",
        "`penstock settings --page`; the meanings stand in the code, beside each field.",
    ]
    group: str | None = None
    for item in found:
        if item.group != group:
            group = item.group
            title = f"Of the {group} room" if group else "Of the whole program"
            lines += ["", f"## {title}", "", "| variable | default | meaning |", "| --- | --- | --- |"]
        meaning = item.meaning.replace("``", "`").replace("|", r"\|")
        lines.append(f"| `{item.name}` | {f'`{item.default}`' if item.default != '-' else ''} | {meaning} |")
    return "\n".join(lines) + "\n"


def documentation(cls: type[Any]) -> dict[str, str]:
    """What stands below (as a string) or beside (as a comment) each field of a class, in one line each."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines = source.splitlines()
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for node, following in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = str(following.value.value)
        else:
            text = " ".join(re.findall(r"#\s*(.*)", "\n".join(lines[node.lineno - 1 : node.end_lineno])))
        found[node.target.id] = " ".join(text.split())
    return found


def _setting(variable: str, group: str, meaning: str, default: Any, value: Any) -> Setting:
    from penstock.bounds import BOUNDS
    from penstock.environment import PREFIX

    meaning = meaning[:1].upper() + meaning[1:]
    if not meaning.endswith((".", ")")):
        meaning += "."
    bound = BOUNDS.get(variable.removeprefix(PREFIX))
    if bound is not None:
        meaning += f" Allowed: {bound}."
    changed = value != default and default is not None
    return Setting(variable, group, meaning, _shown(variable, default), _shown(variable, value), changed)


def _shown(variable: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    if variable.endswith(_SECRET):
        return "***"
    if variable.endswith("_DATABASE_URL"):
        return re.sub(r"(?<=://)[^/]*(?=@)|(?<=password=)[^&]*", "***", str(value))
    return str(value)
