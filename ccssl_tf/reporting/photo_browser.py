"""The report's cluster browser: every cluster, its photos, misfits, and the photos near a photo.

It is readable without scripts; these only sort, search, and show what is near a photo.
"""

import dataclasses
import re
from typing import Any

from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.text import percent
from ccssl_tf.runs.json_files import read_json

_NAME = "browser.json"
# So many photos at either end of a cluster are called its nearest and its furthest.
_ENDS = 11
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo on a sheet.

    Attributes:
      number: of the photo, from 0.
      sheet, column, row: where it is.
      label: name, class, cluster and distance, as text.
      distance: to the centroid, as text.
      is_foreign: whether it is of another class than the commonest of its cluster.
    """

    number: int
    sheet: int
    column: int
    row: int
    label: str
    distance: str
    is_foreign: bool


def browser(run: Run) -> dict | None:
    """Returns the data of `browser.html.j2`, None where a clustering has written no photos.

    Args:
      run: a clustering.
    """
    try:
        return _browser(read_json(run.path / _NAME, remedy="cluster again"), _nearest(run))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        # Of an older version, or damaged: the report does not fail for its pictures.
        return None


def _nearest(run: Run) -> dict[str, dict[int, list[str]]]:
    """Returns split -> cluster -> its nearest images as text."""
    return {
        split: {
            row["cluster"]: [
                f"{one['filename'] or one['index']} ({float(one['distance']):.4g})"
                for one in row["nearest"]
            ]
            for row in rows
        }
        for split, rows in run.nearest_images().items()
    }


def _browser(content: dict[str, Any], nearest: dict[str, dict[int, list[str]]]) -> dict:
    clusters = {int(cluster["number"]): cluster for cluster in content["clusters"]}
    split, names = str(content["split"]), [str(name) for name in content["classes"]]
    photos: dict[int, list[Photo]] = {}
    start = 0
    for sheet, number in enumerate(content["order"]):
        places = range(start, start + int(clusters[number]["shown"]))
        photos[number] = [
            _photo(content, names, clusters[number], sheet, place, place - start)
            for place in places
        ]
        start = places.stop
    every = [photo for few in photos.values() for photo in few]
    if not every or not all(map(_BASE64.fullmatch, content["sheets"])):
        raise ValueError("no photos")
    titles = {
        "class": "Of another class than most of their cluster, nearest to its centroid first",
        "far": "Furthest from the centroid of their cluster",
    }
    return dict(
        split=split,
        side=int(content["side"]),
        sheets=content["sheets"],
        num_images=int(content["num_images"]),
        num_photos=len(every),
        clusters=[
            _cluster(cluster, names, photos.get(number, []), nearest.get(split, {}).get(number, []))
            for number, cluster in clusters.items()
        ],
        misfits=[
            (title, [every[number] for number in content["misfits"][kind]])
            for kind, title in titles.items()
            if content["misfits"][kind]
        ],
        near=[content["neighbours"], content["apart"]],
    )


def _photo(content: dict, names: list[str], cluster: dict, sheet: int, place: int, among: int):
    label, distance = content["labels"][place], f"{content['distances'][place]:.4g}"
    leader = cluster["classes"][0][0] if cluster["classes"] else -1
    is_known = 0 <= label < len(names)
    facts = [names[label]] if is_known else []
    facts += [f"cluster {cluster['number']}", f"distance {distance}"]
    row, column = divmod(among, int(content["columns"]))
    return Photo(
        number=place,
        sheet=sheet,
        column=column,
        row=row,
        label=f"{content['names'][place]}: {', '.join(facts)}",
        distance=distance,
        is_foreign=is_known and label != leader,
    )


def _cluster(cluster: dict, names: list[str], photos: list[Photo], nearest: list[str]) -> dict:
    size, shares = int(cluster["size"]), cluster["classes"]
    if len(photos) > 2 * _ENDS:
        parts = [
            ("nearest", photos[:_ENDS]),
            ("between", photos[_ENDS:-_ENDS]),
            ("furthest", photos[-_ENDS:]),
        ]
    elif size > len(photos):
        parts = [("nearest", photos[:_ENDS]), ("furthest", photos[_ENDS:])]
    else:
        parts = [("all, nearest first", photos)]
    return dict(
        number=int(cluster["number"]),
        size=size,
        share=shares[0][1] / size if shares and size else 0.0,
        shares=", ".join(
            f"{names[label]} {percent(count / size)}%" for label, count in shares if size
        ),
        mean_distance=cluster["mean_distance"],
        parts=[(title, few) for title, few in parts if few],
        nearest=[] if photos else nearest,
    )
