"""An endpoint of a backbone, pooled to a grid, as a feature row.

In the paper it is conv4, pooled to 5x5 (section 4.2; experiments/PROTOCOLS.md, "Extraction").
"""

import dataclasses

from ccssl_tf.features.network_extractor import BatchSettings, NetworkExtractor, pooled_rows
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.models.outputs import network_until
from ccssl_tf.runs.settings import setting, whole_or_fields
from ccssl_tf.task import ImageSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointSettings(ImageSettings, BatchSettings):
    """--extractor=endpoint."""

    endpoint: str = setting(
        "conv4",
        "Layer whose activations are the features, an endpoint (VGG16: conv4_3) or any other layer "
        "by its name.",
        paper="conv4",
    )
    pool_grid: int = setting(
        5,
        "Cells a side the map is pooled to; a smaller map stays as it is. The paper has 4 for "
        "VGG16.",
        minimum=1,
        maximum=256,
        paper=5,
    )
    pooling: str = setting("max", "How a cell is pooled.", choices=["max", "average"], paper="max")


class EndpointExtractor(NetworkExtractor):
    """A layer of one of our backbones, pooled.

    >>> from ccssl_tf.models import AlexNet
    >>> backbone = AlexNet(stem="small", normalization="batch_norm", fc_units=())
    >>> EndpointExtractor(backbone, endpoint="conv4", pool_grid=2, image_size=32).dim
    1536
    """

    Settings = EndpointSettings
    needs_backbone = True

    def __init__(self, backbone: Backbone, settings: EndpointSettings | None = None, **fields):
        """Checks that the backbone has the endpoint at this size.

        Args:
          backbone: whose endpoint or layer has a map [B, h, w, C] or a vector [B, C].
          settings: or its fields by name.

        Raises:
          InputError: the backbone has no such endpoint or layer.
        """
        settings = whole_or_fields(EndpointSettings, settings, fields)
        self._backbone = backbone
        self._network = network_until(backbone, settings.endpoint, "endpoint")
        super().__init__(settings)

    def describe(self) -> dict:
        """Returns `extractor` with its parameters, and `backbone_fingerprint`."""
        settings = self.settings
        extractor = dict(
            name="endpoint",
            endpoint=settings.endpoint,
            pool_grid=settings.pool_grid,
            pooling=settings.pooling,
            image_size=settings.image_size,
            backbone=self._backbone.get_config(),
        )
        return dict(extractor=extractor, backbone_fingerprint=backbone_fingerprint(self._backbone))

    def rows(self, images):
        """The endpoint, pooled and flattened."""
        features = self._network(self._backbone.normalize(images), training=False)
        return pooled_rows(features, self.settings.pool_grid, self.settings.pooling)
