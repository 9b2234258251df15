"""What can be learnt from what. Importing this package gives every task config its class."""

from patchword.tasks import captioning
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Task

__all__ = ["Evaluation", "LossOutput", "Prediction", "Task", "captioning"]
