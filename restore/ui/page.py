"""The page built of gradio's parts: drop, compare, tune, save."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from restore.errors import MissingExtraError, RestoreError
from restore.pipeline.options import Fidelity, RestoreOptions, TrustOptions
from restore.pipeline.restorer import Restorer
from restore.report.page import HONEST, page_file
from restore.ui.open_photo import (
    NOTHING,
    SIZES,
    OpenPhoto,
    faces_view,
    good_news,
    open_photo,
    photo_view,
    problem,
    restore_open,
    save_restored,
)
from restore.ui.privacy import close_downloads, silence_reports

GUARDS = [
    ("tell how like it is", "report"),
    ("mix the photo in until it is like it", "blend"),
    ("keep the photo's face if it is not", "keep"),
    ("do not measure", "off"),
]
_HEAD = f"""<div class="masthead"><h1>restore</h1><p>{HONEST}</p></div>"""


def import_gradio() -> Any:
    """gradio, with its reporting off; MissingExtraError where it is not installed."""
    silence_reports()
    try:
        import gradio
    except ImportError as error:
        raise MissingExtraError("gradio", "ui", "the page (restore ui)") from error
    close_downloads()
    return gradio


def page_style() -> str:
    """The style sheets of the page."""
    return page_file("faces.css") + _own_file("page.css")


def page_script() -> str:
    """The script of the page, as it stands in its head."""
    return f"<script>\n{page_file('faces.js')}{_own_file('page.js')}</script>"


def build_page(restorer: Restorer, folder: Path) -> Any:
    """The gradio Blocks; files that are saved are put under `folder` for the browser to fetch."""
    gr = import_gradio()
    dial = restorer.runtime.supports_fidelity
    guarded = restorer.guard.embedder is not None
    with gr.Blocks(title="restore", analytics_enabled=False, fill_width=True) as page:
        opened, known = gr.State(None), gr.State(())
        gr.HTML(_HEAD)
        with gr.Row():
            with gr.Column(scale=1, min_width=330):
                files = gr.File(
                    label="Photos", file_count="multiple", file_types=["image"], elem_id="drop",
                    height=150,
                )  # fmt: skip
                which = gr.Dropdown(label="Photo", visible=False, elem_id="which")
                dials = _dials(gr, dial, guarded)
                boxes = gr.Checkbox(True, label="Number the faces", elem_id="boxes")
                scale = gr.Radio(
                    [("same size", 1.0), ("2 x", 2.0), ("4 x", 4.0)], value=2.0, label="Save as",
                    elem_id="scale",
                )  # fmt: skip
                label = gr.Checkbox(
                    True, label="Say in the file that a model made some of it", elem_id="label"
                )
                save = gr.Button("Save photo", variant="primary", elem_id="save")
                download = gr.DownloadButton(visible="hidden", elem_id="download")
            with gr.Column(scale=3, min_width=500):
                message = gr.HTML(elem_id="message", padding=False)
                photo = gr.HTML(NOTHING, elem_id="photo", padding=False)
                faces = gr.HTML(elem_id="faces", padding=False)
        handlers = _Handlers(gr, restorer, folder)
        wishes = list(dials)
        shown = [opened, message, photo, faces]
        files.change(
            handlers.take, [files, known], [which, known],
            show_progress="hidden", api_visibility="private",
        ).then(
            handlers.open, [which, *wishes[:-1]], [*shown, dials[-1]],
            show_progress="minimal", show_progress_on=[photo], api_visibility="private",
        )  # fmt: skip
        which.input(
            handlers.open, [which, *wishes[:-1]], [*shown, dials[-1]],
            show_progress="minimal", show_progress_on=[photo], api_visibility="private",
        )  # fmt: skip
        for part in dials:
            part.input(
                handlers.again, [opened, *wishes], shown, trigger_mode="always_last",
                show_progress="minimal", show_progress_on=[photo], api_visibility="private",
            )  # fmt: skip
        save.click(
            handlers.save, [opened, scale, label, *wishes], [message, download],
            show_progress="minimal", show_progress_on=[message], api_visibility="private",
        ).success(
            None, [download], None, api_visibility="private",
            js="(file) => { if (file) document.querySelector('#download').click(); }",
        )  # fmt: skip
        boxes.input(
            None, [boxes], None, api_visibility="private",
            js="(on) => { document.body.classList.toggle('no-boxes', !on); }",
        )  # fmt: skip
    return page


def _dials(gr: Any, dial: bool, guarded: bool) -> tuple[Any, ...]:
    """Fidelity, its choice by damage, guard, gentleness, good faces, grain, faces: in order."""
    fidelity = gr.Slider(
        0, 1, 1, step=0.05, label="Fidelity", elem_id="fidelity", visible=dial,
        info="1: the photo leads. Towards 0 the model paints more.",
    )  # fmt: skip
    auto = gr.Checkbox(
        False, label="Choose it by the damage of each face", visible=dial, elem_id="auto"
    )
    with gr.Accordion("The person stays the person", open=False):
        guard = gr.Radio(
            GUARDS if guarded else [("not measured: there is no identity network", "off")],
            value="report" if guarded else "off", label="A face that is not like itself any more",
            elem_id="guard",
        )  # fmt: skip
        gentle = gr.Checkbox(
            True, label="Be gentle with faces too small or too damaged to be restored honestly",
            elem_id="gentle",
        )  # fmt: skip
        keep_good = gr.Checkbox(True, label="Leave good faces alone", elem_id="keep_good")
        grain = gr.Checkbox(False, label="Give faces the photo's grain", elem_id="grain")
    faces = gr.CheckboxGroup(label="Faces to restore", visible=False, elem_id="chosen")
    return fidelity, auto, guard, gentle, keep_good, grain, faces


def _own_file(name: str) -> str:
    return resources.files("restore.ui").joinpath(name).read_text("utf-8")


def _options(values: Sequence[Any], scale: float, has_dial: bool) -> RestoreOptions:
    """The options that the controls say; see `_dials` for their order."""
    fidelity, auto, guard, gentle, keep_good, grain = values[:6]
    trust = TrustOptions(
        identity=guard, gentle=gentle, keep_good=keep_good, grain="match" if grain else "off"
    )
    dial: Fidelity = None
    if has_dial:
        dial = "auto" if auto else float(fidelity)
    return RestoreOptions(scale=float(scale), fidelity=dial, trust=trust)


def _left_out(chosen: Sequence[str] | None, found: int) -> frozenset[int]:
    """Numbers of the faces, from 0, that are not among the names chosen."""
    kept = {int(name.split()[-1]) - 1 for name in chosen or ()}
    return frozenset(range(found)) - kept


class _Handlers:
    """What happens when somebody does something; errors become messages in the page."""

    def __init__(self, gr: Any, restorer: Restorer, folder: Path) -> None:
        self.gr, self.restorer, self.folder = gr, restorer, folder

    def take(self, paths: Sequence[str] | None, known: Sequence[str]) -> tuple[Any, Any]:
        """Photos dropped or taken away -> the list to choose from, the first new one chosen."""
        paths = tuple(paths or ())
        new = [path for path in paths if path not in known] or paths
        names = [(Path(path).name, path) for path in paths]
        chosen = new[0] if new else None
        return self.gr.Dropdown(choices=names, value=chosen, visible=len(names) > 1), paths

    def open(self, path: str | None, *values: Any) -> tuple[Any, ...]:
        """Another photo: read it, look for faces, restore them."""
        nothing = self.gr.CheckboxGroup(choices=[], value=[], visible=False)
        if not path:
            return None, "", NOTHING, "", nothing
        shown = self._told(lambda: self._show(open_photo(path), [*values, ()], all_faces=True))
        if shown[0] is None:
            return *shown, nothing
        names = [f"Face {i + 1}" for i in range(len(shown[0].found))]
        return *shown, self.gr.CheckboxGroup(choices=names, value=names, visible=len(names) > 1)

    def again(self, opened: OpenPhoto | None, *values: Any) -> tuple[Any, ...]:
        """The same photo with other wishes."""
        if opened is None:
            return None, self.gr.skip(), self.gr.skip(), self.gr.skip()
        shown = self._told(lambda: self._show(opened, values, all_faces=False))
        # What cannot be done leaves the last result where it is.
        return shown if shown[0] is not None else (opened, shown[1], self.gr.skip(), self.gr.skip())

    def save(
        self, opened: OpenPhoto | None, scale: float, label: bool, *values: Any
    ) -> tuple[Any, Any]:
        """Restore at the size asked for and hand the file to the browser."""
        if opened is None:
            return problem("there is no photo to save; drop one first"), None

        def work() -> tuple[Any, ...]:
            options = _options(values, scale, self.restorer.runtime.supports_fidelity)
            without = _left_out(values[-1], len(opened.found or ()))
            _, result = restore_open(self.restorer, opened, options, without)
            # A folder of its own: two photos of one name do not meet.
            folder = Path(mkdtemp(dir=self.folder))
            path, notes = save_restored(opened, result, folder, label)
            size = f"{result.image.shape[1]} x {result.image.shape[0]} px"
            said = "; ".join([f"Saved {path.name}, {size}, with the photo's metadata", *notes])
            return None, good_news(said), str(path)

        _, message, *path = self._told(work)
        return message, path[0] or None

    def _show(self, opened: OpenPhoto, values: Sequence[Any], all_faces: bool) -> tuple[Any, ...]:
        progress = self.gr.Progress()

        def tell(done: int, total: int) -> None:
            progress((done, total), desc="restoring", unit="faces")

        # Small photos are shown enlarged, as they will be saved: the network's detail is seen.
        scale = min(2.0, max(1.0, SIZES.photo_side / max(opened.photo.size)))
        options = _options(values, scale, self.restorer.runtime.supports_fidelity)
        without = () if all_faces else _left_out(values[-1], len(opened.found or ()))
        opened, result = restore_open(self.restorer, opened, options, without, tell)
        return opened, "", photo_view(opened, result), faces_view(opened, result)

    def _told(self, work: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...]:
        """What `work` returns; (None, message, "", "") where it fails."""
        try:
            return work()
        except RestoreError as error:
            return None, problem(str(error)), "", ""
        # The border to the browser: whatever it is, the person in front of it is told.
        except Exception as error:
            return None, problem(f"{type(error).__name__}: {error}"), "", ""
