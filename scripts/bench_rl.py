#!/usr/bin/env python3
"""bench_rl.py - time a step of GRPO beside TRL's GRPOTrainer, and append a row to bench/rl.csv.

    scripts/bench_rl.py HF_DIR --peers DIR [--prompts 12] [--samples 8] [--new 64] [--rounds 2] [--dry]

HF_DIR is a policy as transformers stores it, in float32; DIR what scripts/get_peers.sh installed. gram and TRL take
turns, in every round, with the same policy, prompts and reward model (a scalar head, drawn by a seed, on the policy's
own weights), all in float32 on all cores: TRL's defaults of GRPO, all weights, no KL, no truncation mask, each with its
own generate. Of each run's --steps + 1 steps the first is not counted, and the best counts for everybody. Answers may
end by themselves, so tokens differ a little: seconds are told as they are and for each thousand tokens that were
written. What a run said is kept in --work, and a run that is there is not run again. Wants a machine that does nothing
else.
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys

import bench_run
from bench_generate import QUESTIONS
from bench_run import run, say

HISTORY = pathlib.Path("bench/rl.csv")
JUDGE = """
import sys, torch, transformers
policy, out = sys.argv[1:]
transformers.utils.logging.disable_progress_bar()
torch.manual_seed(7)
m = transformers.AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1, dtype=torch.float32)
tok = transformers.AutoTokenizer.from_pretrained(policy)
tok.pad_token = tok.eos_token
m.config.pad_token_id = tok.pad_token_id
m.save_pretrained(out)
tok.save_pretrained(out)
"""
TRL = """
import json, sys, time, torch, transformers, datasets, trl
policy, judge, prompts, out, samples, new, steps, threads, micro = sys.argv[1:5] + [int(x) for x in sys.argv[5:]]
torch.set_num_threads(threads)
transformers.utils.logging.disable_progress_bar()
rows = [json.loads(line) for line in open(prompts, encoding="utf-8")]
data = datasets.Dataset.from_list([{"prompt": [{"role": "user", "content": r["prompt"]}]} for r in rows])
tok = transformers.AutoTokenizer.from_pretrained(policy, padding_side="left")
tok.pad_token = tok.eos_token
took, begun = {}, {}

class Timed(trl.GRPOTrainer):
    def _generate(self, *args, **kwargs):
        start = time.monotonic()
        made = super()._generate(*args, **kwargs)
        took["generate"] = time.monotonic() - start
        return made
    def _calculate_rewards(self, *args, **kwargs):
        start = time.monotonic()
        rewards = super()._calculate_rewards(*args, **kwargs)
        took["judge"] = time.monotonic() - start
        return rewards

class Clock(transformers.TrainerCallback):
    def on_step_begin(self, *args, **kwargs):
        begun["at"] = time.monotonic()
    def on_step_end(self, *args, **kwargs):
        took["step"] = time.monotonic() - begun["at"]
        told.append(dict(took))

told = []
config = trl.GRPOConfig(
    output_dir=out, use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False, report_to="none",
    save_strategy="no", logging_steps=1, disable_tqdm=True, max_steps=steps + 1, num_generations=samples,
    max_completion_length=new, temperature=1.0, beta=0.0, per_device_train_batch_size=micro,
    gradient_accumulation_steps=len(rows) * samples // micro, learning_rate=1e-6, seed=1,
    model_init_kwargs={"dtype": "float32"})
t = Timed(model=policy, reward_funcs=judge, args=config, train_dataset=data, processing_class=tok, callbacks=[Clock()])
assert next(t.model.parameters()).dtype == torch.float32
t.train()
logs = [l for l in t.state.log_history if "completions/mean_length" in l]
for line, l in zip(told, logs):
    line.update(tokens=l["completions/mean_length"] * len(rows) * samples, reward=l["reward"])
print("TOLD " + json.dumps(told))
"""


def gram_steps(args, judge, prompts, work):
    """Seconds and tokens of each step but the first."""
    out = work / "gram"
    subprocess.run(["rm", "-rf", out], check=True)
    run([args.gram, "rl", args.policy, prompts, "--judge", judge, "--algorithm", "grpo", "--aggregate", "token",
         "--cut",
         "keep", "--samples", args.samples, "--rollout-prompts", args.prompts, "--batch-rows", args.prompts,
         "--max-new-tokens", args.new, "--lr", "1e-6", "--steps", args.steps + 1, "--seed", 1, "--threads",
         args.threads, "--save-every", 0, "--out", out])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    return [{"step": b["seconds"] - a["seconds"], "generate": b["time/generate"], "judge": b["time/judge"],
             "train": b["time/train"], "tokens": b["num_tokens"], "reward": b["reward"]}
            for a, b in zip(steps, steps[1:])]


def trl_steps(args, judge, prompts, work):
    text = run([args.python, "-c", TRL, args.policy, judge, prompts, work / "trl", args.samples, args.new, args.steps,
                args.threads, args.micro or args.prompts * args.samples])
    told = json.loads(next(line for line in text.splitlines() if line.startswith("TOLD "))[5:])[1:]
    for line in told:
        line["train"] = line["step"] - line["generate"] - line["judge"]
    return told


def once(work, name, steps):
    """What the run said, now or before."""
    path = work / (name + ".json")
    if not path.exists():
        told = steps()
        path.write_text(json.dumps(told))
        for line in told:
            say(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in line.items()))
    return json.loads(path.read_text())


def record(args, best):
    cpu, flags = bench_run.cpu_facts()
    row = {"date": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"), "commit": bench_run.commit(), "cpu": cpu,
           "flags": flags, "threads": args.threads, "load_before": round(args.load, 2),
           "prompts": args.prompts, "samples": args.samples, "new_tokens": args.new}
    for who, b in best.items():
        for part in ("step", "generate", "judge", "train"):
            row[f"{who}_{part}_s"] = round(b[part], 3)
        row[f"{who}_tokens"] = round(b["tokens"])
    row["over_trl"] = round(best["trl"]["step"] / best["gram"]["step"], 2)
    row["over_trl_a_token"] = round(row["over_trl"] * best["gram"]["tokens"] / best["trl"]["tokens"], 2)
    if not args.dry:
        bench_run.append(row, HISTORY)
    print(json.dumps(row, indent=2))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("policy")
    p.add_argument("--peers", required=True)
    p.add_argument("--gram", default="build/gram")
    p.add_argument("--work", default="build/bench-rl")
    p.add_argument("--prompts", type=int, default=12)
    p.add_argument("--samples", type=int, default=8)
    p.add_argument("--new", type=int, default=64)
    p.add_argument("--steps", type=int, default=1)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--micro", type=int, default=0, help="answers of a micro-batch of TRL's; 0: all of a step")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--dry", action="store_true", help="write no row")
    args = p.parse_args()
    args.load = os.getloadavg()[0]
    args.python = pathlib.Path(args.peers) / "venv" / "bin" / "python"
    work = pathlib.Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    judge, prompts = work / "judge", work / "prompts.jsonl"
    if not (judge / "tokenizer_config.json").exists():
        run([args.python, "-c", JUDGE, args.policy, judge])
    prompts.write_text("".join(json.dumps({"prompt": q}) + "\n" for q in QUESTIONS[:args.prompts]))
    every = {"gram": [], "trl": []}
    for r in range(args.rounds):
        for who, steps in (("gram", gram_steps), ("trl", trl_steps)):
            every[who] += once(work, f"{who}-{r}", lambda: steps(args, judge, prompts, work))
    record(args, {who: min(told, key=lambda t: t["step"]) for who, told in every.items()})


if __name__ == "__main__":
    sys.exit(main())
