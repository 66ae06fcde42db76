# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The demo: filter bank against its definition, recordings of every format, both parts end to end on small input."""

import subprocess
import sys
import wave

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from scipy.signal import windows

from longconv.demo import headline, memory, recording
from longconv.demo.filterbank import ConstantQ

RATE_HZ = 8000
UNIT_ROUNDOFF = 2.0**-24


def test_sine_has_energy_one_in_its_band_alone():
    bank = ConstantQ(RATE_HZ, lowest_hz=110, hop_samples=64)
    band = 60
    x = np.sin(2 * np.pi * bank.centres_hz[band] / RATE_HZ * np.arange(RATE_HZ))
    energy = bank(torch.from_numpy(x.astype(np.float32))[None, None])[0, :, 40:-40]
    assert energy.shape[0] == len(bank.centres_hz)
    assert energy[band].min() > 0.99
    assert energy[band].max() < 1.01
    far = np.abs(np.log2(bank.centres_hz / bank.centres_hz[band])) > 0.5
    assert energy[torch.from_numpy(far)].max() < 1e-4


@pytest.mark.parametrize("band", [0, 5, 24, 49])
def test_band_is_what_its_definition_says(band):
    hop, quality = 64, 17.0
    bank = ConstantQ(RATE_HZ, lowest_hz=200, quality=quality, hop_samples=hop)
    x = torch.randn(1, 1, 3001, generator=torch.Generator().manual_seed(0))
    energy = bank(x)
    assert energy.shape == (1, len(bank.centres_hz), -(-3001 // hop))

    # By hand: windowed exponential in float64 at every sample, squared, smoothed over hop around the frame.
    centre = bank.centres_hz[band]
    length = 2 * round(quality * RATE_HZ / centre) + 1
    window = windows.hann(length, sym=True)
    atom = 2 / window.sum() * window * np.exp(2j * np.pi * centre / RATE_HZ * (np.arange(length) - length // 2))
    octave = bank.octaves[band // 24]
    stride = octave.band_pass.stride[0]
    padded = np.pad(x[0, 0].double().numpy(), length // 2)
    starts = np.arange(0, 3001, stride)
    segments = np.stack([padded[start : start + length] for start in starts])
    magnitude = np.abs(segments @ atom) ** 2
    rest = hop // stride
    smoother = windows.hann(2 * rest + 1)
    extended = np.pad(magnitude, rest, mode="edge")
    expected = np.array(
        [extended[t : t + 2 * rest + 1] @ smoother / smoother.sum() for t in range(0, len(magnitude), rest)]
    )

    # First-order propagation: each part of z is off by e = (K + 3) u sum |h||x|, |z|^2 by 2 (|Re| + |Im|) e + 2 e^2 and
    # its own three roundings, the smoothing by the same rule.
    error = (length + 3) * UNIT_ROUNDOFF * (np.abs(segments) @ np.abs(atom))
    of_energy = 2 * np.sqrt(2 * magnitude) * error + 2 * error**2 + 4 * UNIT_ROUNDOFF * magnitude
    most = np.pad(of_energy, rest, mode="edge")
    bound = np.array(
        [most[t : t + 2 * rest + 1] @ smoother / smoother.sum() for t in range(0, len(magnitude), rest)]
    ) + (2 * rest + 4) * UNIT_ROUNDOFF * (expected + 1e-30)
    assert (np.abs(energy[0, band].double().numpy() - expected) <= 1.01 * bound).all()


@pytest.mark.parametrize("hop", [0, 3, 100])
def test_hop_must_be_a_power_of_two(hop):
    with pytest.raises(ValueError, match=str(hop)):
        ConstantQ(RATE_HZ, hop_samples=hop)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_reads_pcm(tmp_path, bits, channels):
    integers = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (50, channels))
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, bits // 8, RATE_HZ, 0, "NONE", ""))
        stored = integers + 128 if bits == 8 else integers << (32 - bits)
        raw = stored.astype(np.uint8 if bits == 8 else "<i4").tobytes()
        if bits in (16, 24):
            raw = b"".join(raw[i + 4 - bits // 8 : i + 4] for i in range(0, len(raw), 4))
        file.writeframes(raw)
    sound = recording.read(path)
    assert sound.sample_rate_hz == RATE_HZ
    assert sound.samples.shape == (channels, 50)
    assert np.array_equal(sound.samples, (integers.T / 2.0 ** (bits - 1)).astype(np.float32))


def test_reads_floating_point(tmp_path):
    samples = np.random.default_rng(0).standard_normal(50).astype(np.float32)
    wavfile.write(tmp_path / "sound.wav", RATE_HZ, samples)
    assert np.array_equal(recording.read(tmp_path / "sound.wav").samples, samples[None])


def test_says_what_is_wrong_with_a_recording(tmp_path):
    (tmp_path / "text.wav").write_text("no sound at all")
    with pytest.raises(ValueError, match=r"text\.wav"):
        recording.read(tmp_path / "text.wav")
    wavfile.write(tmp_path / "empty.wav", RATE_HZ, np.zeros(0, np.int16))
    with pytest.raises(ValueError, match=r"empty\.wav"):
        recording.read(tmp_path / "empty.wav")
    with pytest.raises(OSError, match="alsa-utils"):
        recording.read_alsa(tmp_path / "nowhere")


@pytest.mark.parametrize("length", [1, 100, 20_000])
def test_draws_a_picture(tmp_path, length):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (length, 2)).astype(np.float32)
    wavfile.write(tmp_path / "sound.wav", RATE_HZ, samples)
    path = recording.run(tmp_path / "sound.wav", tmp_path / "out")
    assert path == tmp_path / "out" / "sound.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_headline_end_to_end_on_a_small_problem():
    # In a process of its own: it forks, and the tests' process has threads.
    script = (
        "from longconv import kernelbench\n"
        "from longconv.demo import headline\n"
        "kernelbench.length, kernelbench.batch_size = 6000, 5\n"
        "headline.run(full=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 signals" in done.stdout
    assert f"Agreement over all {5 * 128 * 1998:,} results" in done.stdout
    assert "times as fast" in done.stdout


GB = 10**9
INPUT_BYTES, OUTPUT_BYTES = 4 * 64 * 524280, 4 * 128 * 174758


@pytest.mark.parametrize(("available", "full", "expected"), [
    (100 * GB, False, (64, 64)),
    (100 * GB, True, (64, 64)),
    (22 * GB, True, (64, 32)),
    (12 * GB, False, (16, 16)),
    (1.5 * GB, False, (2, 2)),
])  # fmt: skip
def test_batch_is_chosen_from_memory(monkeypatch, available, full, expected):
    monkeypatch.setattr(memory, "available_bytes", lambda: int(available))
    signals, at_once = headline._choose_sizes(INPUT_BYTES, OUTPUT_BYTES, full)
    assert (signals, at_once) == expected
    assert signals * INPUT_BYTES + at_once * (INPUT_BYTES + OUTPUT_BYTES) < available
    assert signals * (INPUT_BYTES + OUTPUT_BYTES) < available


def test_no_memory_for_a_single_signal(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: GB // 2)
    with pytest.raises(MemoryError, match=r"0\.5 GB"):
        headline._choose_sizes(INPUT_BYTES, OUTPUT_BYTES, False)


def test_peak_memory_is_seen():
    before = memory.resident_bytes()
    memory.reset_peak()
    block = np.ones(32 * 2**20, np.uint8)
    del block
    assert memory.peak_resident_bytes() - before > 30 * 2**20
    memory.reset_peak()
    assert memory.peak_resident_bytes() - memory.resident_bytes() < 8 * 2**20
    assert memory.available_bytes() > 0
