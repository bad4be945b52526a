"""TensorFlow's SavedModel: every signature, images of any size where the network allows that."""

from ccssl_tf.downstream.exported import TOLERANCE
from ccssl_tf.downstream.formats.file_format import FileFormat
from ccssl_tf.runs.files import atomic_directory


class SavedModel(FileFormat):
    """See `FileFormat`."""

    name = "saved_model"
    file_name = "saved_model"
    published = staticmethod(atomic_directory)

    def write(self, path):
        """See `FileFormat`."""
        self.exported.save(path)

    def check(self, path):
        """Every signature, of one image and of several."""
        return dict(tolerance=TOLERANCE, largest_difference=self.exported.verify(path))

    def describe(self):
        """What goes in and comes out, and the same of every signature."""
        facts = self.exported.describe()
        return dict(
            input=facts["input"], outputs=facts["outputs"], signatures=self.exported.signatures()
        )
