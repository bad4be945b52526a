"""The note below a table: how its numbers were computed, and with which settings."""

from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.text import seeds_of

_SHOWN_FLAGS = (
    "image_size",
    "batch_size",
    "train_steps",
    "learning_rate",
    "optimizer",
    "weight_decay",
    "width_multiplier",
)


def how(runs: RunSet, entries: list[dict], definition: str) -> dict:
    """Returns {"definition": text, "settings": texts} of the numbers of `entries`.

    Args:
      runs: the runs reported on.
      entries: entries of one table of the summary; the first run of the first speaks for all.
      definition: what the numbers are, if the run does not say it.
    """
    run = runs.named(entries[0]["runs"][0])
    settings = [f"{name} {run.flags[name]}" for name in _SHOWN_FLAGS if name in run.flags]
    grids = run.metrics.get("facts", {}).get("grids", {})
    if grids:
        cells_of_layers = (f"{layer} {cells}x{cells}" for layer, cells in grids.items())
        settings.append(f"grids {', '.join(cells_of_layers)}")
    return dict(
        definition=run.definition or definition,
        settings=[*settings, seeds_of(entries)],
    )
