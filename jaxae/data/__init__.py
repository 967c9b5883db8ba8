"""Where batches come from: data sets, files and tables as checked arrays, split and shuffled."""

from jaxae.data import synthetic as synthetic
from jaxae.data import synthetic_images as synthetic_images
from jaxae.data.arrays import aligned_empty as aligned_empty
from jaxae.data.batching import batches as batches
from jaxae.data.loading import load as load
from jaxae.data.preparing import DataNotFoundError as DataNotFoundError
from jaxae.data.preparing import prepare as prepare
from jaxae.data.scaling import Scaler as Scaler
from jaxae.data.scaling import fit_scaler as fit_scaler
from jaxae.data.scaling import geometric_median as geometric_median
from jaxae.data.shards import Shards as Shards
from jaxae.data.shards import open_shards as open_shards
from jaxae.data.splitting import labelled_subset as labelled_subset
from jaxae.data.splitting import split as split
