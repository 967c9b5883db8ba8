"""Encoders and decoders: Linen modules, and the builders of matching pairs."""

from jaxae.models.networks.activations import ACTIVATIONS as ACTIVATIONS
from jaxae.models.networks.activations import INITIALIZERS as INITIALIZERS
from jaxae.models.networks.activations import Activation as Activation
from jaxae.models.networks.activations import Initializer as Initializer
from jaxae.models.networks.activations import activation as activation
from jaxae.models.networks.activations import initializer as initializer
from jaxae.models.networks.convnets import convolutional as convolutional
from jaxae.models.networks.perceptrons import MLP as MLP
from jaxae.models.networks.perceptrons import Networks as Networks
from jaxae.models.networks.perceptrons import Shape as Shape
from jaxae.models.networks.perceptrons import TransposedMLP as TransposedMLP
from jaxae.models.networks.perceptrons import atoms as atoms
from jaxae.models.networks.perceptrons import example_shape as example_shape
from jaxae.models.networks.perceptrons import mlp as mlp
from jaxae.models.networks.recurrent_pairs import recurrent as recurrent
