"""Pages over clusters: a page for each with its nearest and furthest images, and one over all."""

import base64
import io
import pathlib

import jinja2
import numpy as np

from ccssl_tf.clustering import cluster_report
from ccssl_tf.data import image_list
from ccssl_tf.data.image_facts import ImageFacts
from ccssl_tf.runs.files import write_bytes

# Images that are shown of a cluster, and pixels of their longer side.
_NEAREST, _FURTHEST, _SIDE = 60, 12, 112

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 15px sans-serif; margin: 2em auto; max-width: 64em; padding: 0 1em; }
figure { display: inline-block; margin: 4px; width: 120px; vertical-align: top; }
figcaption { font-size: 11px; overflow-wrap: anywhere; color: #555; }
img { max-width: 112px; max-height: 112px; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd; } }
</style></head><body>
<h1>{{ title }}</h1>
{% for link in links %}<a href="{{ link.path }}">{{ link.text }}</a> {% endfor %}
{% for section in sections %}<h2>{{ section.title }}</h2>
{% for image in section.images %}<figure>
{% if image.path %}<a href="{{ image.path }}">{% endif -%}
<img alt="{{ image.name }}" src="data:image/jpeg;base64,{{ image.data }}">
{%- if image.path %}</a>{% endif %}
<figcaption>{{ image.caption }}</figcaption></figure>
{% endfor %}{% endfor %}</body></html>
"""


def write(
    directory: pathlib.Path,
    split: str,
    images: ImageFacts,
    index: np.ndarray,
    labels: np.ndarray,
    distances: np.ndarray,
    num_clusters: int,
) -> None:
    """Writes `<split>.html` and `<split>_cluster_<number>.html` of the largest clusters.

    Args:
      directory: made if absent.
      split: name of the split.
      images: of the split.
      index: [N] int, the image index of every row.
      labels: [N] int in [0, K).
      distances: [N] float, of every row to the centroid of its label.
      num_clusters: number of clusters, at most, that get a page; empty ones get none.
    """
    directory.mkdir(exist_ok=True)
    template = jinja2.Environment(autoescape=True).from_string(_PAGE)
    sizes = np.bincount(labels)
    largest = np.argsort(-sizes, kind="stable")[:num_clusters]
    largest = largest[sizes[largest] > 0]
    paths = {int(cluster): f"{split}_cluster_{cluster:05}.html" for cluster in largest}
    overview = f"{split}.html"
    members_of_clusters = cluster_report.members_of(labels, distances, len(sizes))
    firsts = []
    for place, cluster in enumerate(paths):
        members = members_of_clusters[cluster]
        nearest, rest = members[:_NEAREST], members[_NEAREST:]
        sections = [_section("Nearest to the centroid", nearest, images, index, distances)]
        if len(rest):
            sections.append(_section("Furthest", rest[::-1][:_FURTHEST], images, index, distances))
        clusters = list(paths)
        links = [dict(path=overview, text="all clusters")]
        for text, other in (("previous", place - 1), ("next", place + 1)):
            if 0 <= other < len(clusters):
                links.append(dict(path=paths[clusters[other]], text=text))
        title = f"Cluster {cluster} of {split}: {len(members)} images"
        page = template.render(title=title, links=links, sections=sections)
        write_bytes(directory / paths[cluster], page.encode())
        caption = f"cluster {cluster}, {len(members)} images"
        firsts.append(sections[0]["images"][0] | dict(caption=caption, path=paths[cluster]))
    title = f"The {len(paths)} largest of {len(sizes)} clusters of {split}"
    page = template.render(title=title, links=[], sections=[dict(title="", images=firsts)])
    write_bytes(directory / overview, page.encode())


def _section(title, rows, images, index, distances):
    shown = []
    for row in rows:
        name = image_list.text_of(images.filenames[index[row]])
        shown.append(
            dict(
                name=name,
                caption=f"{name}, {distances[row]:.4g}",
                data=_thumbnail(images.encoded(int(index[row]))),
            )
        )
    return dict(title=title, images=shown)


def _thumbnail(encoded):
    """A small JPEG in base64."""
    buffer = io.BytesIO()
    cluster_report.thumbnail(encoded, _SIDE).save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()
