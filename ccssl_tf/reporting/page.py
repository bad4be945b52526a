"""The report's page: one HTML file with everything inside it, readable without a server, a network
or scripts.
"""

import importlib.resources

from ccssl_tf.reporting import cluster_section, transfer_section
from ccssl_tf.reporting import summary as summary_lib
from ccssl_tf.reporting.elements import chance_of, figure, percent_of, table, text
from ccssl_tf.reporting.runs import EVALUATIONS, Run, RunSet
from ccssl_tf.reporting.summary import percent
from ccssl_tf.runs import workdir as workdir_lib

_PICTURE_CAPTIONS = {
    "puzzle": "Image, puzzle as shown (foreign tiles framed red), the network's solution (tiles in "
    "their place framed green).",
    "context": "Image with both patches framed, the patches as the network sees them, where it "
    "puts the second (green: right, red: wrong; "
    "orange: where it belongs).",
    "colorization": "What the network sees, the true colours of its cells, its answer, and the "
    "image.",
    "split_brain": "Colour from lightness, lightness from colour: what each half sees, the truth, "
    "and its answer.",
    "inpainting": "The image with its holes, the network's answer, and the image.",
    "rotation": "Image as shown, and turned back by what the network answers.",
    "classification": "Image, its class, and what the network answers with which probability.",
    "confusion": "How often each class (row) is taken for which (column).",
    "ranking": "For each class the photos the network is surest of (frame green: it is there, red: "
    "it is not, grey: difficult).",
    "segmentation": "Photo at the size the network sees, the classes that are there (void white) "
    "and the network's, in VOC's colours.",
    "detections": "Objects that are there (thin, white) and the network's surest detections.",
    "counting": "The tiles of an image, and the halved image whose counts the network finds "
    "nearest to their sum.",
}


_PROBED = {
    "linear_probe": "The network is frozen, and a classifier is trained with labels on each of its "
    "layers.",
    "nonlinear_probe": "The network is frozen up to a layer, and what is behind it is trained from "
    "scratch with labels.",
}


def page(runs: RunSet, summary: dict, drawings: dict, reference: dict | None) -> str:
    """Returns the whole page.

    Args:
      runs: the runs reported on.
      summary: `summary.summarise(runs)`.
      drawings: {"probes": {task: pictures}, "curves": {task: pictures}, "students": {network:
        pictures}, "sizes": {run: pictures}}, pictures as `figure` takes them.
      reference: an earlier summary whose ranges are shown beside the numbers, or None.
    """
    sections = [
        _head(runs, summary),
        *(_probes(runs, summary, task, drawings, reference) for task in summary["probes"]),
        *(_evaluation(runs, summary, task) for task in summary["evaluations"]),
        _training(runs, summary, drawings),
        cluster_section.section(runs, summary, drawings),
        transfer_section.section(runs, summary, drawings),
        _filters(runs),
        _stages(runs),
        _next_steps(runs),
    ]
    style = (importlib.resources.files("ccssl_tf.reporting") / "page.css").read_text()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>Knowledge transfer "
        f"report</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _head(runs, summary):
    unfinished = [run.name for run in runs.runs if not run.finished]
    count = f"{len(runs.finished)} finished runs" + (
        f", {len(unfinished)} unfinished ({', '.join(unfinished)})" if unfinished else ""
    )
    evaluated = [*summary["probes"].values(), *summary["evaluations"].values()]
    data = sorted({entry["data"] for part in evaluated for entry in part["networks"]})
    data = data or sorted({entry["data"] for entry in summary["training"]})
    return (
        "<h1>Boosting self-supervised learning by knowledge transfer</h1>\n"
        f'<p class="soft">{text(count)}. Images: {text("; ".join(data) or "unknown")}.</p>\n'
        f'<ul class="numbers">{"".join(_key_numbers(summary))}</ul>\n'
    )


def _key_numbers(summary):
    for entry in summary["training"]:
        accuracy = entry["evaluation"].get("accuracy")
        if accuracy and entry["task"] != "cluster_classification":
            chance = f" (chance {percent_of(entry['chance'])})" if entry["chance"] else ""
            asked = (
                "puzzles solved"
                if entry["task"].startswith("jigsaw")
                else f"answers right on {entry['task'].replace('_', ' ')}"
            )
            yield (
                f"<li><strong>{percent_of(accuracy['mean'])}</strong>of held-out {text(asked)} "
                f"by {text(entry['network'])}{chance}</li>"
            )
    for part in summary["probes"].values():
        for entry in part["networks"]:
            best = max(
                part["endpoints"],
                key=lambda name: entry["evaluation"].get(f"accuracy/{name}", {}).get("mean", -1),
                default=None,
            )
            if best and f"accuracy/{best}" in entry["evaluation"]:
                value = entry["evaluation"][f"accuracy/{best}"]["mean"]
                yield (
                    f"<li><strong>{percent_of(value)}</strong>best probe of "
                    f"{text(entry['network'])}, on {text(best)}</li>"
                )


def _probes(runs, summary, task, drawings, reference):
    part = summary["probes"][task]
    endpoints, entries = part["endpoints"], part["networks"]
    ranges, remark = _reference_ranges(task, entries, reference)
    names = [f"accuracy/{endpoint}" for endpoint in endpoints]
    best = {
        name: max((value for entry in entries for value in _means(entry, [name])), default=None)
        for name in names
    }
    rows = []
    for entry in entries:
        cells = [text(entry["network"])]
        for name in best:
            statistics = entry["evaluation"].get(name)
            cell = percent(statistics, spread=False)
            cell = (
                f"<strong>{cell}</strong>"
                if statistics and statistics["mean"] == best[name]
                else cell
            )
            if statistics and len(statistics["values"]) > 1:
                cell += (
                    f"<small>{100 * statistics['min']:.1f}–{100 * statistics['max']:.1f}</small>"
                )
            top5 = entry["evaluation"].get(name.replace("accuracy/", "top5/"))
            cell += f"<small>top-5 {percent(top5, spread=False)}</small>" if top5 else ""
            if (entry["network"], name) in ranges:
                cell += f"<small>ref. {ranges[entry['network'], name]}</small>"
            cells.append(cell)
        rows.append(cells)
    several = any(len(entry["seeds"]) > 1 for entry in entries)
    small = " Small print: least and greatest of the seeds." if several else ""
    return (
        f"<h2>{text(task.replace('_', ' ').capitalize())}s: what each layer knows</h2>\n"
        f"<p>{_PROBED.get(task, _PROBED['linear_probe'])} Accuracy on held-out images, in %. "
        f"Bold: the best network for that layer.{small}{remark}</p>\n"
        + table(["", *map(text, endpoints)], rows)
        + figure(
            drawings["probes"][task],
            "Accuracy by layer." + (" Bars: range over seeds." if several else ""),
            "Accuracy by layer",
        )
        + _how(runs, entries, summary_lib.PROBE_DEFINITION)
        + _pictures(runs, sorted(entries, key=lambda entry: -max(_means(entry, best), default=-1)))
    )


def _means(entry, names):
    return [entry["evaluation"][name]["mean"] for name in names if name in entry["evaluation"]]


def _evaluation(runs, summary, task):
    """The networks under one evaluation: its main number first, then whatever else is a mean;
    pictures of the best.
    """
    main, title = EVALUATIONS[task]
    entries = summary["evaluations"][task]["networks"]
    names = {
        name: None
        for entry in entries
        for name in entry["evaluation"]
        if "/" not in name and name not in (main, "loss")
    }
    columns = [main, *names]
    rows = []
    for entry in entries:
        steps = {run.name: run.metrics.get("step", "-") for run in runs.runs}[entry["runs"][0]]
        chance = percent_of(entry["chance"]) if entry["chance"] else "-"
        rows.append(
            [
                text(entry["network"]),
                *(percent(entry["evaluation"].get(name)) for name in columns),
                chance,
                text(steps),
            ]
        )
    short = (name.replace("mean_average_precision", "mAP").replace("_", " ") for name in columns)
    head = ["", *map(text, short), "chance", "steps"]
    best = sorted(entries, key=lambda entry: -entry["evaluation"].get(main, {}).get("mean", -1))
    return (
        f"<h2>{text(title)}</h2>\n<p>The network is fine-tuned; numbers in %, least and greatest "
        "of several seeds in brackets.</p>\n"
        + table(head, rows)
        + _how(runs, entries, main.replace("_", " "))
        + _pictures(runs, best)
    )


def _pictures(runs, entries):
    """What the first run of the first of the entries that drew something has drawn."""
    by_name = {run.name: run for run in runs.runs}
    drawn = next(
        (by_name[name] for entry in entries for name in entry["runs"] if by_name[name].pictures),
        None,
    )
    parts = []
    for name, picture in drawn.pictures.items() if drawn else ():
        caption = _PICTURE_CAPTIONS.get(
            name, "What goes in, what is asked, what the model answers."
        )
        parts.append(
            figure(
                picture, f"{caption} Run {text(drawn.name)}.", f"{name} of {drawn.name}", "pixels"
            )
        )
    return "".join(parts)


def _reference_ranges(task, entries, reference):
    """Returns {(network, metric): "33.0–35.2"} and a sentence that says where they are from, or why
    there are none.
    """
    if reference is None:
        return {}, ""
    ours = {entry["data"] for entry in entries}
    theirs = reference["probes"].get(task, {}).get("networks", [])
    fitting = [entry for entry in theirs if entry["data"] in ours]
    if not fitting:
        return {}, " The reference was measured on other images and is left out."
    ranges = {
        (entry["network"], name): f"{100 * values['min']:.1f}–{100 * values['max']:.1f}"
        for entry in fitting
        for name, values in entry["evaluation"].items()
    }
    return (
        ranges,
        " After “ref.”: the range of our own runs of the same commands, "
        f"{summary_lib.seeds_of(fitting)}.",
    )


def _how(runs, entries, definition):
    """A paragraph that says how the numbers of `entries` were computed."""
    by_name = {run.name: run for run in runs.runs}
    run = by_name[entries[0]["runs"][0]]
    definition = run.definition or definition
    shown = (
        "image_size",
        "batch_size",
        "train_steps",
        "learning_rate",
        "optimizer",
        "weight_decay",
        "width_multiplier",
    )
    settings = [f"{name} {run.flags[name]}" for name in shown if name in run.flags]
    grids = run.metrics.get("facts", {}).get("grids", {})
    settings += (
        [f"grids {', '.join(f'{layer} {cells}x{cells}' for layer, cells in grids.items())}"]
        if grids
        else []
    )
    return (
        f'<p class="note">How: {text(definition)}. Settings: '
        f"{text(', '.join(settings + [summary_lib.seeds_of(entries)]))}.</p>\n"
    )


def _training(runs, summary, drawings):
    if not summary["training"]:
        return ""
    by_name = {run.name: run for run in runs.runs}
    rows = []
    for entry in summary["training"]:
        run, numbers = by_name[entry["runs"][0]], entry["evaluation"]
        seconds = sum(by_name[name].timing.get("seconds", 0) for name in entry["runs"]) / len(
            entry["runs"]
        )
        rows.append(
            [
                f"{text(entry['network'])}<small>{text(entry['task'])}</small>",
                text(entry["backbone"]),
                text(run.metrics.get("step", "-")),
                f"<strong>{percent(numbers.get('accuracy'))}</strong>",
                percent(entry["training"].get("accuracy")),
                chance_of(entry),
                f"{numbers['loss']['mean']:.3f}" if "loss" in numbers else "-",
                f"{run.metrics['num_parameters'] / 1e6:.2f} M"
                if "num_parameters" in run.metrics
                else "-",
                f"{seconds:.0f} s" if seconds else "-",
            ]
        )
    head = [
        "",
        "backbone",
        "steps",
        "accuracy, %",
        "in training",
        "chance",
        "loss",
        "parameters",
        "time",
    ]
    parts = [
        "<h2>Training</h2>\n<p>Accuracy and loss on held-out images; in training: accuracy on the "
        "last batches.</p>\n",
        table(head, rows),
    ]
    for task in dict.fromkeys(entry["task"] for entry in summary["training"]):
        entries = [entry for entry in summary["training"] if entry["task"] == task]
        parts.append(f"<h3>{text(task)}</h3>\n")
        if task in drawings["curves"]:
            parts.append(
                figure(
                    drawings["curves"][task],
                    "Training batches (line) and held-out images (dots).",
                    f"Curves of {task}",
                )
            )
        parts.append(
            _how(runs, entries, "share of held-out examples whose target gets the greatest logit")
        )
        drawn = next((run for run in runs.finished if run.task == task and run.pictures), None)
        for name, picture in drawn.pictures.items() if drawn else ():
            caption = _PICTURE_CAPTIONS.get(
                name, "What goes in, what is asked, what the model answers."
            )
            parts.append(
                figure(
                    picture, f"{caption} Run {text(drawn.name)}.", f"Examples of {task}", "pixels"
                )
            )
    return "".join(parts)


def filter_pictures(runs: RunSet) -> list[tuple[str, Run]]:
    """Returns (network, run) for each backbone whose conv1 filters were drawn: trained ones, and
    the random one of a probe.
    """
    found = {}
    for run in runs.finished:
        name = runs.network(run)
        if (
            run.task
            and run.picture("conv1_filters")
            and (name == "random" or not run.is_evaluation)
        ):
            found.setdefault(name, run)
    return sorted(found.items(), key=lambda item: (item[0] != "random", "CC+" in item[0], item[0]))


def _filters(runs):
    found = filter_pictures(runs)
    if not found:
        return ""
    pictures = []
    for name, run in found:
        caption = f"{text(name)}<br>{text(run.name)}"
        pictures.append(
            figure(run.picture("conv1_filters"), caption, f"conv1 filters of {name}", "pixels")
        )
    return (
        "<h2>First-layer filters</h2>\n<p>The kernels of conv1 (Figure 4 of the paper), each "
        "stretched to its own range.</p>\n"
        f'<div class="row">{"".join(pictures)}</div>\n'
    )


def _stages(runs):
    parts = ["<h2>How every stage was made</h2>\n"]
    for run in runs.as_made:
        facts = ["finished" if run.finished else "<strong>unfinished</strong>"]
        if "seconds" in run.timing:
            facts.append(f"{run.timing['seconds']:.0f} s")
        facts += [
            f"{value:.4g} {name.replace('_per_second', '/s')}"
            for name, value in run.timing.items()
            if name.endswith("_per_second")
        ]
        flags = "\n".join(f"--{name}={value}" for name, value in run.flags.items())
        parts.append(
            f'<h3>{text(run.name)} <span class="soft">{", ".join(facts)}</span></h3>\n'
            f"<pre>{text(workdir_lib.format_command(run.command))}</pre>\n"
            f"<details><summary>all flags</summary><pre>{text(flags)}</pre></details>\n"
        )
    return "".join(parts)


def _next_steps(runs):
    exports = [run for run in runs.finished if run.module == "ccssl_tf.export"]
    trained = [
        run
        for run in runs.finished
        if run.task and (run.path / "backbone.keras").is_file() and not run.is_evaluation
    ]
    if not exports and not trained:
        return ""
    parts = ["<h2>Use it</h2>\n"]
    for run in exports[:1]:
        path = run.path / "saved_model"
        code = (
            f'import tensorflow as tf\nmodel = tf.saved_model.load("{path}")\n'
            "endpoints = model.serve(images)  # [B, H, W, 3], RGB, 0 to 255; a dict of every "
            "layer's activations"
        )
        parts.append(
            f"<p>The SavedModel needs nothing but TensorFlow:</p>\n<pre>{text(code)}</pre>\n"
        )
    for run in trained[-1:]:
        command = ["ccssl_tf.export", f"--run={run.path}", "--output_dir=DIR"]
        parts.append(
            "<p>Another network as a "
            f"SavedModel:</p>\n<pre>{text(workdir_lib.format_command(command))}</pre>\n"
        )
    return "".join(parts)
