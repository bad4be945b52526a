"""The report's last section: how to load and to export the networks that were trained."""

from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.run_record import format_command


def section(runs: RunSet) -> dict | None:
    """Returns the data of `usage.html.j2`, None where there is nothing to use."""
    saved_models = [
        (run.path / "saved_model").as_posix()
        for run in runs.finished
        if run.module == "ccssl_tf.export"
        and "saved_model" in run.flags.get("format", "saved_model").split(",")
    ]
    trained = [
        run
        for run in runs.finished
        if run.task and (run.path / "backbone.keras").is_file() and not run.is_evaluation
    ]
    if not saved_models and not trained:
        return None
    export_command = (
        format_command(["ccssl_tf.export", f"--run={trained[-1].path}", "--output_dir=DIR"])
        if trained
        else None
    )
    return dict(
        saved_model=saved_models[0] if saved_models else None, export_command=export_command
    )
