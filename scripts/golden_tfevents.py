#!/usr/bin/env python3
"""golden_tfevents.py - what TensorBoard itself writes and reads, for src/train/tfevents.c.

    python3 scripts/golden_tfevents.py              writes tests/golden/tfevents.bin
    python3 scripts/golden_tfevents.py OUT/tb       reads a run's event file and prints its numbers, step by step

Needs `pip install tensorboard`."""
import pathlib
import sys

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/tfevents.bin"
# wall time, step, numbers; as tests/train/test_tfevents.c has them
EVENTS = [(1700000000.25, 0, [("loss/held_out", 0.75)]),
          (1700000001.5, 1, [("loss/train", 0.5), ("accuracy/train", 1.0), ("optimizer/learning_rate", 2e-5)]),
          (1700000002.125, 300000, [("loss/train", -1e-3)])]


def write():
    import io
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter
    out = io.BytesIO()
    writer = RecordWriter(out)
    writer.write(Event(wall_time=EVENTS[0][0], file_version="brain.Event:2").SerializeToString())
    for time, step, numbers in EVENTS:
        values = [Summary.Value(tag=tag, simple_value=x) for tag, x in numbers]
        writer.write(Event(wall_time=time, step=step, summary=Summary(value=values)).SerializeToString())
    GOLDEN.write_bytes(out.getvalue())
    print(f"{GOLDEN}: {len(out.getvalue())} bytes")


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(folder, size_guidance={"scalars": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        steps = [e.step for e in events.Scalars(tag)]
        assert steps == sorted(set(steps)), f"{tag}: a step stands twice"
        print(tag, " ".join(f"{e.step}:{e.value:.6g}" for e in events.Scalars(tag)))


if __name__ == "__main__":
    read(sys.argv[1]) if len(sys.argv) > 1 else write()
