"""Where batches come from: data sets, files and tables as checked arrays, split and shuffled.

`load` reads data sets by name, files, folders of images and arrays in memory; `split` holds out
rows, `labelled_subset` chooses a few labels, `fit_scaler` scales columns. A batch may have a
"mask" of what is observed: `pad` makes one of sequences of differing length, `bucketed` batches
of like lengths, `fit_columns` of a table's cells, `load_ratings` of sparse ratings.

What is larger than memory: `open_shards("acts/*.npy")` opens many `.npy` or `.safetensors` files,
such as a language model's activations, as one array; `batches` shuffles it in bounded memory for
`jaxae.stream` or `jaxae.over_batches`.

Data of known truth: `synthetic` (sparse superpositions, low-rank Gaussians, shapes of known
factors), `synthetic_images` (curves, turned digits, random backgrounds), `synthetic_sequences`.

>>> import numpy as np
>>> waves = [np.sin(np.arange(n) / 3)[:, None] for n in (10, 12)]
>>> sequences = pad(waves)
>>> sequences["x"].shape, sequences["mask"].shape
((2, 12, 1), (2, 12))
>>> rows, held_out = split(load("digits", "train"), 0.1)
>>> len(rows["x"]), len(held_out["x"])
(1293, 144)
"""

from jaxae.data import synthetic as synthetic
from jaxae.data import synthetic_images as synthetic_images
from jaxae.data import synthetic_sequences as synthetic_sequences
from jaxae.data.arrays import aligned_empty as aligned_empty
from jaxae.data.batching import batches as batches
from jaxae.data.centring import Centring as Centring
from jaxae.data.centring import centre as centre
from jaxae.data.column_fitting import hide_cells as hide_cells
from jaxae.data.columns import Columns as Columns
from jaxae.data.columns import fit_columns as fit_columns
from jaxae.data.densifying import dense as dense
from jaxae.data.densifying import rating_batches as rating_batches
from jaxae.data.images import load_images as load_images
from jaxae.data.loading import load as load
from jaxae.data.preparing import DataNotFoundError as DataNotFoundError
from jaxae.data.preparing import prepare as prepare
from jaxae.data.ratings import Ratings as Ratings
from jaxae.data.ratings import core as core
from jaxae.data.ratings import ratings_from as ratings_from
from jaxae.data.ratings import split_ratings as split_ratings
from jaxae.data.ratings_files import load_ratings as load_ratings
from jaxae.data.scaling import Scaler as Scaler
from jaxae.data.scaling import fit_scaler as fit_scaler
from jaxae.data.scaling import geometric_median as geometric_median
from jaxae.data.sequences import bucketed as bucketed
from jaxae.data.sequences import pad as pad
from jaxae.data.sequences import step_mask as step_mask
from jaxae.data.shards import Shards as Shards
from jaxae.data.shards import open_shards as open_shards
from jaxae.data.splitting import labelled_subset as labelled_subset
from jaxae.data.splitting import split as split
from jaxae.data.synthetic_ratings import low_rank_ratings as low_rank_ratings
