"""How good a model is: errors, probes, baselines, a summary and figures."""

from jaxae.evaluation.baselines import mean_baseline as mean_baseline
from jaxae.evaluation.baselines import pca_baseline as pca_baseline
from jaxae.evaluation.baselines import principal_angles as principal_angles
from jaxae.evaluation.metrics import codes as codes
from jaxae.evaluation.metrics import map_batches as map_batches
from jaxae.evaluation.metrics import mean_interval as mean_interval
from jaxae.evaluation.metrics import reconstruction as reconstruction
from jaxae.evaluation.metrics import squared_error as squared_error
from jaxae.evaluation.metrics import validation as validation
from jaxae.evaluation.plots import codes_2d as codes_2d
from jaxae.evaluation.plots import curves as curves
from jaxae.evaluation.plots import filters as filters
from jaxae.evaluation.plots import image_rows as image_rows
from jaxae.evaluation.probes import knn_probe as knn_probe
from jaxae.evaluation.probes import linear_probe as linear_probe
from jaxae.evaluation.summary import format_table as format_table
from jaxae.evaluation.summary import summarize as summarize
