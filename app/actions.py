"""Every command of the window, in one table: menus, toolbar and shortcuts.

`COMMANDS` is the only place that knows which commands exist. `ActionSet` makes one
`QAction` of each and says by key when it was chosen; the window has one method per
key. Menus appear in the order in which the table first names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu, QMenuBar, QToolBar, QWidget

Need = Literal["nothing", "project", "layers", "predicted", "idle", "job"]
"""What must be there before a command can act.

`project`: a model is open. `layers`: some layers are selected. `predicted`: the
predicted error was computed. `idle`: a model is open and no job runs. `job`: one runs.
"""


WHY: dict[Need, str] = {
    "nothing": "",
    "project": "Open a model or project first.",
    "layers": "Select layers first.",
    "predicted": "Run the analysis first: it needs the predicted error.",
    "idle": "Needs an open model, and no job running.",
    "job": "No job is running.",
}
"""Why a command is disabled, by what it lacks."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        key: What the window's method is called, without `do_`.
        text: As in menus, with a mnemonic.
        menu: Path of menus, separated by "/".
        tip: One sentence for tooltip, status bar and list of shortcuts.
        shortcuts: Key sequences; the first is shown.
        needs: What must be there.
        toolbar: Short text on the toolbar; "" to leave it out.
        gap: Whether a separator comes before it.
        group: Name of the group of which one is checked; "" for plain commands.
    """

    key: str
    text: str
    menu: str
    tip: str
    shortcuts: tuple[str, ...] = ()
    needs: Need = "nothing"
    toolbar: str = ""
    gap: bool = False
    group: str = ""


BIT_WIDTHS = (8, 7, 6, 5, 4, 3, 2)

COMMANDS: tuple[Command, ...] = (
    Command(
        "open",
        "&Open model or project…",
        "&File",
        "Open a model file, or a project saved before.",
        ("Ctrl+O",),
        toolbar="Open",
    ),
    Command(
        "open_folder",
        "Open model &folder…",
        "&File",
        "Open a Hugging Face folder (config.json and safetensors).",
        ("Ctrl+Shift+O",),
    ),
    Command(
        "open_example",
        "Open an exa&mple…",
        "&File",
        "Open one of the small trained models that come with Quantscope.",
    ),
    Command(
        "save",
        "&Save project",
        "&File",
        "Save results and assignments to the project file.",
        ("Ctrl+S",),
        "project",
        toolbar="Save",
        gap=True,
    ),
    Command(
        "save_as",
        "Save project &as…",
        "&File",
        "Save the project under another name.",
        ("Ctrl+Shift+S",),
        "project",
    ),
    Command(
        "export",
        "&Export assignment…",
        "&File",
        "Write the present assignment as JSON or as a table.",
        ("Ctrl+E",),
        "project",
        toolbar="Export",
    ),
    Command(
        "report",
        "&Write report…",
        "&File",
        "Write layers, findings and plots as one HTML page.",
        needs="project",
    ),
    Command(
        "close",
        "&Close project",
        "&File",
        "Return to the start page.",
        ("Ctrl+W",),
        "project",
        gap=True,
    ),
    Command(
        "recover",
        "Reco&ver sessions…",
        "&File",
        "Offer again what was open when Quantscope ended unexpectedly.",
    ),
    Command("quit", "&Quit", "&File", "Leave Quantscope.", ("Ctrl+Q",)),
    Command(
        "copy",
        "&Copy layers",
        "&Edit",
        "Copy the selected rows of the layer table, separated by tabs.",
        ("Ctrl+C",),
        "layers",
        gap=True,
    ),
    Command(
        "copy_header",
        "Copy layers with &header",
        "&Edit",
        "Copy the selected rows with the column titles above.",
        ("Ctrl+Shift+C",),
        "layers",
    ),
    Command(
        "copy_csv",
        "Copy la&yers as CSV",
        "&Edit",
        "Copy the selected rows with numbers in full, separated by commas.",
        needs="layers",
    ),
    Command(
        "copy_markdown",
        "Copy layers as Mar&kdown",
        "&Edit",
        "Copy the selected rows as a table for notes and issues.",
        needs="layers",
    ),
    Command(
        "copy_script",
        "Copy last &job as script",
        "&Edit",
        "Copy the Python lines and the command line that repeat the last job.",
        needs="project",
    ),
    Command(
        "select_all",
        "Select &all layers",
        "&Edit",
        "Select every layer the filter shows.",
        ("Ctrl+A",),
        "project",
        gap=True,
    ),
    Command(
        "select_tied",
        "Select &tied layers",
        "&Edit",
        "Add the layers that must share a format with the selected ones.",
        ("Ctrl+T",),
        "layers",
    ),
    Command(
        "select_block",
        "Select b&lock",
        "&Edit",
        "Add all layers of the blocks that the selected layers belong to.",
        ("Ctrl+G",),
        "layers",
    ),
    Command(
        "clear_selection",
        "&Deselect",
        "&Edit",
        "Select no layer.",
        ("Esc",),
        "layers",
    ),
    Command(
        "filter",
        "&Filter layers",
        "&Edit",
        "Type which layers to show.",
        ("Ctrl+Shift+F", "/"),
        "project",
        gap=True,
    ),
    Command(
        "find",
        "F&ind layers",
        "&Edit",
        "Mark the layers that fit a text, and leave the others in place.",
        ("Ctrl+F",),
        "project",
    ),
    Command(
        "find_next",
        "Find ne&xt",
        "&Edit",
        "Look at the next layer found.",
        ("F3",),
        "project",
    ),
    Command(
        "find_previous",
        "Find pre&vious",
        "&Edit",
        "Look at the layer found before.",
        ("Shift+F3",),
        "project",
    ),
    Command(
        "star",
        "&Bookmark or not",
        "&Edit/&Bookmarks",
        "Star the selected layers; take the stars off when all have one.",
        ("Ctrl+B",),
        "layers",
        gap=True,
    ),
    Command(
        "star_next",
        "&Next bookmark",
        "&Edit/&Bookmarks",
        "Look at the next bookmarked layer of the table.",
        ("F4",),
        "project",
    ),
    Command(
        "star_previous",
        "&Previous bookmark",
        "&Edit/&Bookmarks",
        "Look at the bookmarked layer before.",
        ("Shift+F4",),
        "project",
    ),
    Command(
        "next",
        "&Next layer",
        "&Edit",
        "Look at the next layer of the table.",
        ("]",),
        "project",
    ),
    Command(
        "previous",
        "&Previous layer",
        "&Edit",
        "Look at the previous layer of the table.",
        ("[",),
        "project",
    ),
    Command(
        "go_to_layer",
        "&Go to layer…",
        "&Edit",
        "Find a layer by some letters of its name.",
        ("Ctrl+P",),
        "project",
    ),
    Command(
        "settings",
        "&Settings…",
        "&Edit",
        "Colours, autosave, threads and keys.",
        ("Ctrl+,",),
        gap=True,
    ),
    Command(
        "palette",
        "Find co&mmand…",
        "&Edit",
        "Find any command by some letters of its name.",
        ("Ctrl+Shift+P",),
    ),
    *(
        Command(
            f"bits_{bits}",
            f"&{bits} bit",
            "&Layers",
            f"Set the selected layers to {bits} bits; locked ones are skipped.",
            (str(bits),),
            "layers",
        )
        for bits in BIT_WIDTHS
    ),
    Command(
        "bits_0",
        "Keep &float",
        "&Layers",
        "Keep the selected layers as they are stored.",
        ("0",),
        "layers",
    ),
    Command(
        "lock",
        "&Lock or unlock",
        "&Layers",
        "Locked layers keep their format in edits and searches.",
        ("L",),
        "layers",
        gap=True,
    ),
    Command(
        "baseline",
        "&Make this the baseline",
        "&Layers",
        "Keep the present assignment to hold later ones against it.",
        ("B",),
        "project",
        gap=True,
    ),
    Command(
        "keep",
        "Keep assi&gnment as…",
        "&Layers",
        "Keep the present assignment in the project under a name.",
        ("Ctrl+K",),
        "project",
    ),
    Command(
        "analyse",
        "&Run analysis…",
        "&Analysis",
        "Compute statistics and predicted errors of all layers.",
        ("Ctrl+Return",),
        "idle",
        toolbar="Analyse",
    ),
    Command(
        "search",
        "&Search assignment…",
        "&Analysis",
        "Find the assignment with the least predicted error under a budget.",
        ("Ctrl+Shift+Return",),
        "predicted",
        toolbar="Search",
    ),
    Command(
        "evaluate",
        "&Measure this assignment",
        "&Analysis",
        "Run the quantized model and measure how far its output moves.",
        ("Ctrl+M",),
        "idle",
        toolbar="Measure",
    ),
    Command(
        "predict_assigned",
        "Predict the schemes &assigned",
        "&Analysis",
        "Run the prediction again with the schemes of the assignment it lacks, such as "
        "limits given by hand.",
        (),
        "idle",
    ),
    Command(
        "error_map",
        "&Picture the rounding error",
        "&Analysis",
        "Show the error of every weight of the layer looked at as a picture.",
        ("Ctrl+Shift+R",),
        "idle",
    ),
    Command(
        "cancel",
        "&Cancel",
        "&Analysis",
        "Stop the running job; what is finished is kept.",
        ("Ctrl+.",),
        "job",
        gap=True,
    ),
    Command(
        "theme_system",
        "As the &system",
        "&View/&Colours",
        "Light or dark as the system says.",
        group="theme",
    ),
    Command("theme_light", "&Light", "&View/&Colours", "Always light.", group="theme"),
    Command("theme_dark", "&Dark", "&View/&Colours", "Always dark.", group="theme"),
    Command(
        "sort",
        "&Sort by the cursor's column",
        "&View",
        "Sort the table by the column of the cursor; again turns it round, then ends.",
        ("S",),
        "project",
        gap=True,
    ),
    Command(
        "fold",
        "Fold or unfold &block",
        "&View",
        "Show the blocks of the selected layers as one row each, or layer by layer.",
        ("Ctrl+Shift+G",),
        "layers",
    ),
    Command(
        "fold_all",
        "Fold or unfold all bl&ocks",
        "&View",
        "Show every block of the network as one row, or all layers again.",
        ("Ctrl+Alt+G",),
        "project",
    ),
    Command(
        "columns",
        "Choose col&umns…",
        "&View",
        "Choose and order the columns of the layer table.",
        ("Ctrl+Shift+L",),
        "project",
    ),
    Command(
        "detach",
        "&Detach panel or put it back",
        "&View",
        "Make the panel with the keyboard a window of its own, or put it back.",
        ("Ctrl+Shift+D",),
        "project",
    ),
    *(
        Command(
            f"size_{word}",
            f"&{word.capitalize()}",
            "&View/Panel si&ze",
            f"Make the panel with the keyboard {word}.",
            (f"Alt+Shift+{key}",),
            "project",
        )
        for word, key in (
            ("wider", "Right"),
            ("narrower", "Left"),
            ("taller", "Down"),
            ("shorter", "Up"),
        )
    ),
    Command(
        "layout_explore",
        "Layout &Explore",
        "&View",
        "Arrange the panels for looking at errors: table, plots and pictures.",
        needs="project",
        gap=True,
    ),
    Command(
        "layout_assign",
        "Layout &Assign bits",
        "&View",
        "Arrange the panels for setting bits: a tall table beside the trade-off.",
        needs="project",
    ),
    Command(
        "layout_reset",
        "&Reset layout",
        "&View",
        "Put all panels back where they were at first.",
    ),
    Command(
        "help",
        "&Explain what has the focus",
        "&Help",
        "Open the help pane at the page of the panel, measure or format in focus.",
        ("F1",),
    ),
    Command(
        "handbook",
        "&Handbook as web page",
        "&Help",
        "Open all pages of the help pane in the browser, to read, search and print.",
    ),
    Command(
        "shortcuts",
        "&Keyboard shortcuts",
        "&Help",
        "List every command and its key.",
        ("?",),
    ),
    Command("about", "&About Quantscope", "&Help", "Version and licence."),
)

_NEEDS: dict[str, Need] = {command.key: command.needs for command in COMMANDS}


class ActionSet(QObject):
    """The actions of the table, ready for menus and toolbar.

    Signals:
        chosen: Key of the command.
    """

    chosen = Signal(object)

    def __init__(self, parent: QWidget) -> None:
        """Make one action per command."""
        super().__init__(parent)
        self._actions: dict[str, QAction] = {}
        self._menus: dict[str, QMenu] = {}
        self._groups: dict[str, QActionGroup] = {}
        self.shortcuts = default_shortcuts()
        for command in COMMANDS:
            action = QAction(command.text, parent)
            action.setData(command.key)
            action.setStatusTip(command.tip)
            action.triggered.connect(self._on_triggered)
            if command.group:
                action.setCheckable(True)
                group = self._groups.setdefault(command.group, QActionGroup(self))
                group.addAction(action)
            if command.toolbar:
                action.setIconText(command.toolbar)
            self._actions[command.key] = action
            parent.addAction(action)
        self.set_shortcuts({})

    def __getitem__(self, key: str) -> QAction:
        """Return the action of a command."""
        return self._actions[key]

    def set_shortcuts(self, own: Mapping[str, Sequence[str]]) -> None:
        """Use the keys of the table, but for some commands others."""
        self.shortcuts = {
            key: tuple(own.get(key, keys)) for key, keys in default_shortcuts().items()
        }
        for command in COMMANDS:
            keys = self.shortcuts[command.key]
            action = self._actions[command.key]
            action.setShortcuts([QKeySequence(key) for key in keys])
            action.setToolTip(tip_with_shortcut(command.tip, keys))

    def menu(self, path: str) -> QMenu:
        """Return a menu made by `fill_menus`."""
        return self._menus[path]

    def fill_menus(self, bar: QMenuBar) -> None:
        """Put every action into its menu."""
        for command in COMMANDS:
            menu = self._menu(bar, command.menu)
            if command.gap and not menu.isEmpty():
                menu.addSeparator()
            menu.addAction(self._actions[command.key])

    def fill_toolbar(self, bar: QToolBar) -> None:
        """Put the actions that want it onto the toolbar."""
        for command in COMMANDS:
            if command.toolbar:
                bar.addAction(self._actions[command.key])

    def why(self, key: str) -> str:
        """Return why a command is disabled; "" when it can act."""
        return "" if self._actions[key].isEnabled() else WHY[_NEEDS[key]]

    def allow(self, having: set[Need]) -> None:
        """Enable exactly the commands whose need is met."""
        for command in COMMANDS:
            met = command.needs == "nothing" or command.needs in having
            self._actions[command.key].setEnabled(met)

    def _menu(self, bar: QMenuBar, path: str) -> QMenu:
        if path not in self._menus:
            above, _, name = path.rpartition("/")
            owner = self._menu(bar, above) if above else bar
            menu = owner.addMenu(name)
            menu.setToolTipsVisible(False)
            self._menus[path] = menu
        return self._menus[path]

    @Slot()
    def _on_triggered(self) -> None:
        action = self.sender()
        if isinstance(action, QAction):
            self.chosen.emit(action.data())


def default_shortcuts() -> dict[str, tuple[str, ...]]:
    """Return the keys of the table, by command."""
    return {command.key: command.shortcuts for command in COMMANDS}


def key_text(keys: Sequence[str]) -> str:
    """Return keys as the system writes them, separated by commas."""
    native = QKeySequence.SequenceFormat.NativeText
    return ", ".join(QKeySequence(key).toString(native) for key in keys)


def tip_with_shortcut(tip: str, keys: Sequence[str]) -> str:
    """Return the tooltip of a command, its first key included."""
    return f"{tip} ({key_text(keys[:1])})" if keys else tip
