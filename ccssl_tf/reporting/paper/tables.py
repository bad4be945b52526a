"""The numbers of the paper's tables, and where ours of the same thing are found.

`tables.csv` holds every number: table, row, column, value in %, reference (of what others
published); beside it the stage that measures it, e.g. `imagenet_probe/cc_jigsaw_pp`, and the metric
in the stage's `metrics.json`, whose keys are joined with dots.
"""

import csv
import dataclasses
import functools
import importlib.resources
import re

# Of each table what it shows, in the order of the paper.
TITLES = {
    "1": "Table 1: number of clusters, VOC 2007 classification",
    "2": "Table 2: other images for clusters and pseudo-labels, VOC 2007 classification",
    "3": "Table 3: fine-tuning on VOC",
    "4": "Table 4: linear classifiers on frozen layers, ImageNet",
    "5": "Table 5: linear classifiers on frozen layers, Places",
    "6": "Table 6: layers frozen up to one, the others retrained, ImageNet",
    "text": "Section 5, item 6: feature regression, VOC 2007 classification",
}
COLUMN_LABELS = {
    "voc07_classification": "classification",
    "detection_ss": "detection, one scale",
    "detection_ms": "detection, five scales",
}
# Networks that are in no table of the paper.
_OTHER_NAMES = {
    "random_calibrated": "Random, statistics of batch normalisation measured",
    "vgg_jigsaw_pp": "vgg-Jigsaw++",
    "vgg_context": "vgg-Context",
    "context_color_projection": "Context-ColorProjection",
    "cc_random": "CC+Random",
    "cc_shuffled": "CC, shuffled pseudo-labels",
    "cc_jigsaw_pp_imagenet_places": "CC+Jigsaw++, ImageNet's clusters on Places",
    "cc_jigsaw_pp_places_imagenet": "CC+Jigsaw++, clusters of Places on ImageNet",
    "regression": "Feature regression, conv4 and conv5",
    "regression_teacher": "Teacher of the feature regression",
}


@dataclasses.dataclass(frozen=True)
class PaperNumber:
    """One number of the paper.

    Attributes:
      table: "1" to "6", or "text".
      row, column: their names in the table.
      value: in %.
      reference: whose number it is where it is not the paper's own, or what it is; may be "".
      stage: evaluation and network, with a slash between, whose run measures it.
      metric: keys of `metrics.json`, joined with dots, of the share in [0, 1].
    """

    table: str
    row: str
    column: str
    value: float
    reference: str
    stage: str
    metric: str

    @property
    def evaluation(self) -> str:
        """The first part of the stage, e.g. `imagenet_probe`."""
        return self.stage.partition("/")[0]

    @property
    def network(self) -> str:
        """The second part of the stage, e.g. `cc_jigsaw_pp`."""
        return self.stage.partition("/")[2]


@functools.cache
def paper_numbers() -> tuple[PaperNumber, ...]:
    """Returns every number of the paper's tables, in their order.

    >>> from ccssl_tf.reporting.paper.tables import paper_numbers
    >>> paper_numbers()[0].value
    69.1
    """
    text = (importlib.resources.files("ccssl_tf.reporting.paper") / "tables.csv").read_text("utf-8")
    return tuple(
        PaperNumber(
            table=row["table"],
            row=row["row"],
            column=row["column"],
            value=float(row["value"]),
            reference=row["reference"],
            stage=row["stage"],
            metric=row["metric"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def network_name(network: str) -> str:
    """Returns what the paper calls a network, and what we call one that is not in the paper.

    Args:
      network: its name in paths, e.g. `cc_jigsaw_pp`.

    >>> network_name("cc_jigsaw_pp_k500")
    'CC+Jigsaw++, 500 clusters'
    """
    clusters = re.fullmatch(r"(.+)_k(\d+)", network)
    if clusters:
        return f"{network_name(clusters[1])}, {clusters[2]} clusters"
    return _paper_names().get(network) or _OTHER_NAMES.get(network, network)


@functools.cache
def _paper_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for number in paper_numbers():
        if number.table in "3456":
            names.setdefault(number.network, number.row)
    return names
