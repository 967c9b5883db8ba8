"""The former place of `jaxae.deploy.cell_surprise`."""

from jaxae.deploy.cell_surprise import cell_scores as cell_scores
from jaxae.deploy.cell_surprise import name_cells as name_cells
