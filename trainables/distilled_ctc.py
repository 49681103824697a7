"""Distilled students with a CTC head as transformers models, where transformers has no class for their front-end.

Importing this module makes `AutoModelForCTC`, and so `pipeline("automatic-speech-recognition")`, know them.
"""

from math import prod
from typing import Any

from pydantic import TypeAdapter
from torch import nn
from transformers import AutoConfig, AutoModelForCTC, PretrainedConfig

from trainables.students.ctc import NO_DROPOUT
from trainables.students.distilled import DistilledStudent
from trainables.waveforms_for_ctc import WaveformsForCTC

ADAPTER: TypeAdapter[DistilledStudent] = TypeAdapter(DistilledStudent)


class DistilledCTCConfig(PretrainedConfig):
    """A student, the shapes of the teacher that it was made of, and a head over `vocab_size` tokens."""

    model_type = "distilled_ctc"

    student: dict[str, Any] | None = None
    """The fields of a `ShallowWide` or a `DeepThin`."""
    teacher: dict[str, Any] | None = None
    """The fields of the teacher's config that are not transformers' defaults, its `model_type` among them."""
    standardised: bool = False
    """Whether waveforms are given zero mean and unit variance."""
    conv_kernel: list[int] | None = None
    conv_stride: list[int] | None = None
    """Windows that samples are put into, one after the other, in the words of wav2vec 2.0's config."""
    vocab_size: int = 32
    pad_token_id: int | None = 0

    @classmethod
    def of(
        cls, student: DistilledStudent, architecture: PretrainedConfig, *, standardised: bool, **fields: Any
    ) -> "DistilledCTCConfig":
        """The config of a `student` of a teacher with this `architecture`, with other `fields` of a CTC model."""
        teacher = {k: v for k, v in architecture.to_diff_dict().items() if k not in ("transformers_version", "dtype")}
        teacher = {name: value for name, value in teacher.items() if not name.startswith("_")}
        kernels, strides = zip(*student.frames(architecture).convolutions, strict=True)
        return cls(
            student=student.model_dump(mode="json"), teacher={**teacher, "model_type": architecture.model_type},
            standardised=standardised, conv_kernel=list(kernels), conv_stride=list(strides), **fields,
        )  # fmt: skip

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples per frame."""
        return prod(self.conv_stride or ())


class DistilledForCTC(WaveformsForCTC):
    """A distilled student with a CTC head."""

    config_class = DistilledCTCConfig
    base_model_prefix = "distilled"

    def __init__(self, config: DistilledCTCConfig) -> None:
        super().__init__(config)
        student, teacher = ADAPTER.validate_python(config.student), dict(config.teacher or {})
        architecture = AutoConfig.for_model(teacher.pop("model_type"), **teacher)
        self.distilled = student.build(
            architecture=architecture, standardised=config.standardised, regularisation=NO_DROPOUT
        )
        self.lm_head = nn.Linear(self.distilled.width, config.vocab_size)
        self.post_init()


AutoConfig.register(DistilledCTCConfig.model_type, DistilledCTCConfig)
AutoModelForCTC.register(DistilledCTCConfig, DistilledForCTC)
