"""The report's last section: how to load and to export the networks that were trained."""

import json

from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.run_record import format_command


def section(runs: RunSet) -> dict | None:
    """Returns the data of `usage.html.j2`, None where there is nothing to use."""
    exports = [
        run
        for run in runs.finished
        if run.module == "ccssl_tf.export"
        and "saved_model" in run.flags.get("format", "saved_model").split(",")
    ]
    trained = [
        run
        for run in runs.finished
        if run.task and (run.path / "backbone.keras").is_file() and not run.is_evaluation
    ]
    if not exports and not trained:
        return None
    export_command = (
        format_command(["ccssl_tf.export", f"--run={trained[-1].path}", "--output_dir=DIR"])
        if trained
        else None
    )
    return dict(
        title="Use it",
        snippet=_snippet(runs, exports[0]) if exports else None,
        export_command=export_command,
    )


def _snippet(runs: RunSet, run: Run) -> str:
    """Returns a program that maps a photo of any size to what the exported network makes of it."""
    source = runs.source(run, "run")
    is_detector = source is not None and source.task == "fast_rcnn"
    path = (run.path / "saved_model").as_posix()
    lines = [
        "import tensorflow as tf",
        "",
        f"model = tf.saved_model.load({json.dumps(path, ensure_ascii=False)})",
        'photo = tf.io.read_file("photo.jpg")  # of any size; cut and scaled as in the evaluations',
    ]
    if is_detector:
        lines += [
            "boxes = tf.constant([[0.0, 0.0, 1.0, 1.0]])  # where objects may be: proposals",
            "outputs = model.serve_jpeg(photo, boxes)",
        ]
    else:
        lines += ["outputs = model.serve_jpeg(tf.stack([photo]))  # a batch of photos"]
    return "\n".join(
        [*lines, "for name, values in outputs.items():", "    print(name, values.shape)"]
    )
