"""espeak-ng's library through ctypes: text to samples. It has global state: use one process each."""

import ctypes
from pathlib import Path

import numpy as np

_SYNCHRONOUS = 2  # the callback has run before `espeak_Synth` returns
_DO_NOT_EXIT = 0x8000  # report a missing data folder instead of ending the process
_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """The library, opened with the data that it was packaged with."""

    def __init__(self, library: Path, data: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self.rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(data.parent).encode(), _DO_NOT_EXIT)
        if self.rate <= 0:
            raise RuntimeError(f"`{data}` must be a folder of espeak-ng data, but cannot be read as one.")
        self._heard: list[np.ndarray] = []
        self._callback = _CALLBACK(self._hear)  # held here: the library keeps only a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, voice: str) -> np.ndarray:
        """Samples (int16, at `rate`) of a voice such as `cs+f2`: language and variant."""
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"`voice` must be one of espeak-ng's, but is {voice} instead.")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # or breath and noise differ with the clock
        self._heard.clear()
        encoded = text.encode() + b"\0"
        size = ctypes.c_size_t(len(encoded))
        self._library.espeak_Synth(encoded, size, 0, 0, 0, _UTF8, None, None)
        return np.concatenate(self._heard)

    def _hear(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int) -> int:
        if samples and count > 0:
            self._heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0
