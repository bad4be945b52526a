"""Instances files of COCO, and of the tools that write them: their lists, categories and split, and
which files are the images they name.
"""

import json
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping

from ccssl_tf.runs.errors import InputError
from data_prep import locations, split_files
from data_prep.decoding import printable
from data_prep.faults import shown
from data_prep.split_names import split_of_name


def read_instances(path: str | pathlib.Path) -> dict:
    """Returns a file's lists `images`, `annotations` and `categories`; raises InputError for any
    other file. Files of test images have no annotations, which is said.
    """
    try:
        content = json.loads(pathlib.Path(path).read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--annotations={path}: no JSON file ({error})") from error
    if isinstance(content, dict) and {"images", "categories"} <= content.keys():
        if "annotations" not in content:
            print(f"--annotations={path}: has no annotations; its images are background")
        content.setdefault("annotations", [])
    kinds = dict(images=list, annotations=list, categories=list)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), kind) for key, kind in kinds.items()
    ):
        present = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise InputError(
            f"--annotations={path}: expected lists of images, annotations and categories, found "
            f"{present[:200] or 'nothing'}"
        )
    return content


def read_categories(contents: Mapping[str, dict]) -> dict[int, str]:
    """Returns id -> name, the same in all files.

    A category that has the name of another one and no annotations is left out, which is said: some
    tools write the group of all categories as one more.

    Args:
      contents: path -> what `read_instances` gives.

    Raises:
      InputError: categories that are none, differ, or share an id or a name.
    """
    found: dict[int, str] = {}
    for path, content in contents.items():
        seen = set()
        for category in content["categories"]:
            try:
                number, name = int(category["id"]), str(category["name"])
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise InputError(
                    f"--annotations={path}: a category without id and name: {str(category)[:60]}"
                ) from error
            if number in seen:
                raise InputError(f"--annotations={path}: two categories with the id {number}")
            if found.setdefault(number, name) != name:
                raise InputError(
                    f"--annotations={path}: calls category {number} {name!r}, another file "
                    f"{found[number]!r}"
                )
            seen.add(number)
    if not found:
        raise InputError("--annotations: no categories")
    return _distinct(found, contents)


def _distinct(found, contents):
    counts = Counter(found.values())
    if max(counts.values()) == 1:
        return found
    used = {
        str(annotation.get("category_id"))
        for content in contents.values()
        for annotation in content["annotations"]
        if isinstance(annotation, dict)
    }
    unused = {n for n, name in found.items() if counts[name] > 1 and str(n) not in used}
    kept = {number: name for number, name in found.items() if number not in unused}
    counts = Counter(kept.values())
    if twice := sorted(name for name in counts if counts[name] > 1):
        raise InputError(f"--annotations: several categories are called {shown(twice)}; rename one")
    if lost := sorted(set(found.values()) - set(kept.values())):
        raise InputError(
            f"--annotations: several categories are called {shown(lost)}, and none has annotations"
        )
    print(
        f"--annotations: leaving out the categories {shown([str(n) for n in sorted(unused)])}: "
        "without annotations, and called as others are"
    )
    return kept


def split_of(path: str | pathlib.Path, content: dict) -> str:
    """Returns the split that a file's name tells (instances_train2017.json), or the folder that its
    images name, or its own; raises InputError where nothing does.
    """
    path = pathlib.Path(path)
    images = [image for image in content["images"][:100] if isinstance(image, dict)]
    names = [str(image.get("file_name", "")) for image in images]
    folders = {name.replace("\\", "/").rpartition("/")[0] for name in names}
    folder = folders.pop() if len(folders) == 1 else ""
    for told in (pathlib.PurePath(path.name), pathlib.PurePath(folder, "-"), path):
        split = split_files.split_of_path(pathlib.PurePath(told.parent.name, told.name))
        if split is not None:
            return split
    raise InputError(
        f"--annotations={path}: neither its name nor its images' folder tells the split; say "
        "--splits"
    )


class SourceImages:
    """The images below a source, to be found by what an instances file calls them."""

    def __init__(self, source: pathlib.Path):
        """Reads the names.

        Args:
          source: directory, or an uncompressed tar.

        Raises:
          InputError: no images.
        """
        skipped = locations.SkippedFolders.nothing()
        files: Iterable[locations.SourceFile] = (
            locations.walk_tree(source, skipped)
            if source.is_dir()
            else locations.tar_members(source)
        )
        self._root = source.resolve()
        self._by_base: dict[str, list[locations.SourceFile]] = {}
        for file in files:
            if locations.is_image_name(file.name):
                base = printable(file.name).rpartition("/")[2]
                self._by_base.setdefault(base, []).append(file)
        for line in skipped.describe():
            print(f"{source}: {line}")
        if not self._by_base:
            raise InputError(f"{source}: holds no images")

    def find(
        self, name: str, split: str, path: str | pathlib.Path
    ) -> tuple[locations.SourceFile | None, str]:
        """Returns the image file of a name, or None and why there is none.

        Among several files of one base name, that one is meant which has the name's folders, too;
        then the one beside the instances file, or below the folder of its split.

        Args:
          name: as an instances file has it, with / or \\ between its parts.
          split: of that file.
          path: of that file.
        """
        name = name.replace("\\", "/").removeprefix("./")
        found = self._by_base.get(name.rpartition("/")[2], [])
        if not found:
            return None, "is not below --source"
        beside = pathlib.Path(path).resolve().parent
        prefix = ""
        if beside.is_relative_to(self._root) and beside != self._root:
            prefix = beside.relative_to(self._root).as_posix() + "/"
        for fits in (
            lambda file: printable(file.name) == prefix + name,
            lambda file: printable(file.name) == name,
            lambda file: f"/{printable(file.name)}".endswith(f"/{name}"),
            lambda file: True,
        ):
            fitting = [file for file in found if fits(file)]
            if len(fitting) > 1:
                fitting = [file for file in fitting if _split_above(file) == split] or fitting
            if len(fitting) == 1:
                return fitting[0], ""
            if fitting:
                break
        return None, f"may be any of {shown([printable(file.name) for file in fitting])}"


def _split_above(file):
    folders = printable(file.name).split("/")[:-1]
    return next(filter(None, (split_of_name(f.rstrip("0123456789")) for f in folders)), None)
