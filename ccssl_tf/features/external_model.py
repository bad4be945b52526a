r"""A network made elsewhere as the teacher: one of its outputs, pooled.

    --model=exported/ --trust_model --output=output_0 --input_range=-1,1
    --model=net.keras --output=block4_conv3 --input_range=0,1 --input_mean=0.485,0.456,0.406 \
        --input_std=0.229,0.224,0.225
    --model=ResNet50 --weights=resnet50_notop.h5
    --model=keras_hub:vit_base_patch16_224_imagenet

What a network takes for a pixel its file does not say (see `ccssl_tf.models.input_convention`).
"""

import dataclasses
import math
import pathlib

import tensorflow as tf

from ccssl_tf.features.external_settings import ExternalSettings
from ccssl_tf.features.network_extractor import BatchSettings, NetworkExtractor, pooled_rows
from ccssl_tf.features.opened_model import OpenedModel
from ccssl_tf.features.tokens import chosen_tokens, prefix_of
from ccssl_tf.models.input_convention import HOW_TO_SAY
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.settings import whole_or_fields
from ccssl_tf.task import ImageSettings


class ExternalModelExtractor(NetworkExtractor):
    """An output of someone else's network.

    Maps are pooled to `pool_grid`, or averaged to one vector where that is not given.
    """

    Settings = ExternalSettings

    def __init__(self, opened: OpenedModel, settings: ExternalSettings | None = None, **fields):
        """Runs a first image through the network.

        Args:
          opened: the network; `settings` say what is to be done with it.
          settings: or its fields by name.

        Raises:
          InputError: the convention is missing or there is one already, another size than the
            network takes, or it cannot be run.
        """
        settings = whole_or_fields(ExternalSettings, settings, fields)
        name, convention, image_size = settings.model, settings.convention(), settings.image_size
        self._opened = opened
        if opened.normalize and convention:
            raise InputError(
                f"--input_range: {name} brings its own preprocessing; leave the flag out"
            )
        if not opened.normalize and not convention:
            raise InputError(f"--model={name}: {HOW_TO_SAY}")
        if opened.image_size and image_size not in (None, opened.image_size):
            raise InputError(
                f"--image_size={image_size}: {name} takes images of {opened.image_size} pixels; "
                "leave the flag out"
            )
        size = image_size or opened.image_size or opened.usual_size or ImageSettings.image_size
        ran = dataclasses.replace(
            settings,
            output=opened.output,
            width_multiplier=settings.width_multiplier or 1.0,
            pool_grid=settings.pool_grid or 1,
            pooling=settings.pooling or ("max" if settings.pool_grid else "average"),
            image_size=size,
            batch_size=settings.batch_size or BatchSettings.batch_size,
        )
        self._normalize = opened.normalize or convention
        self._seen = dataclasses.asdict(convention) if convention else "its own preprocessing"
        try:
            # A SavedModel for images of any size does not say how large its maps are.
            strategy = tf.distribute.get_strategy()
            outputs = strategy.run(
                lambda: opened.call(self._normalize(tf.zeros([1, size, size, 3])))
            )
            self._shape = strategy.experimental_local_results(outputs)[0].shape[1:]
            if self._shape.rank not in (1, 2, 3):
                raise InputError(
                    f"--output={opened.output}: is {['n', *self._shape]}; for each image a vector, "
                    "tokens or a map is needed"
                )
            super().__init__(self._with_tokens(ran))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            if isinstance(error, InputError):
                raise
            reason = next(
                (line.strip() for line in str(error).splitlines() if line.strip()),
                type(error).__name__,
            )[:200]
            raise InputError(
                f"--model={name}: cannot be run on images [n, {size}, {size}, 3] ({reason})"
            ) from error

    def _with_tokens(self, settings):
        """The settings with what is taken of tokens, where the output is a sequence of them."""
        if self._shape.rank != 2:
            if settings.tokens or settings.prefix_tokens is not None:
                raise InputError(
                    f"--tokens: output {self._opened.output} is {['n', *self._shape]}, no sequence "
                    "of tokens; leave it out"
                )
            return settings
        tokens, count = settings.tokens or "all", self._shape[0]
        if tokens == "all":
            return dataclasses.replace(settings, tokens=tokens)
        try:
            prefix = prefix_of(count, settings.image_size, settings.prefix_tokens)
        except InputError as error:
            raise InputError(f"--tokens={tokens}: {error}") from error
        if tokens == "cls" and not prefix:
            raise InputError(
                f"--tokens=cls: the output's {count} tokens are all patches; take mean or patches"
            )
        side = math.isqrt(count - prefix)
        print(
            f"{count} tokens: {prefix} in front of {side} x {side} patches; --tokens={tokens}",
            flush=True,
        )
        return dataclasses.replace(settings, tokens=tokens, prefix_tokens=prefix)

    def describe(self) -> dict:
        """Returns what the manifest says of the features."""
        taken = self.settings
        tokens = dict(tokens=taken.tokens, prefix_tokens=taken.prefix_tokens)
        extractor = dict(
            name="external",
            model=pathlib.Path(self.settings.model).name,
            kind=self._opened.kind,
            output=self._opened.output,
            image_size=self.settings.image_size,
            input=self._seen,
            pool_grid=self.settings.pool_grid,
            pooling=self.settings.pooling,
            **(tokens if taken.tokens not in (None, "all") else {}),
        )
        return dict(extractor=extractor, backbone_fingerprint=self._opened.digest)

    def inputs(self) -> dict[str, str]:
        """Returns flag -> path of what is read besides the images: the network, or its weights."""
        return self._opened.files

    def rows(self, images):
        """The output, pooled and flattened; of tokens [n, T, C] those that --tokens says."""
        outputs = tf.ensure_shape(self._opened.call(self._normalize(images)), [None, *self._shape])
        if self._shape.rank == 2:
            outputs = chosen_tokens(outputs, self.settings.tokens, self.settings.prefix_tokens or 0)
        return pooled_rows(outputs, self.settings.pool_grid, self.settings.pooling)
