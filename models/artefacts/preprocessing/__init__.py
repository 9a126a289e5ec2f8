"""Frozen preprocessing: fitted offline, stored in the artefact, and the same code in training and serving.

Shapes: B rows, F columns in, G columns out. NaN means missing. Each row is processed independently.
"""

from forebay.models.artefacts.preprocessing.impute import Impute as Impute
from forebay.models.artefacts.preprocessing.one_hot import OneHot as OneHot
from forebay.models.artefacts.preprocessing.pipeline import Preprocessing as Preprocessing
from forebay.models.artefacts.preprocessing.row_check import RowCheck as RowCheck
from forebay.models.artefacts.preprocessing.row_check import RowsRejected as RowsRejected
from forebay.models.artefacts.preprocessing.standardise import Standardise as Standardise
from forebay.models.artefacts.preprocessing.step import Step as Step
