#!/usr/bin/env python3
"""golden_align.py - losses of sampled and of given answers as TRL has them, for tests/train/test_policy.c.

    python3 scripts/golden_align.py             writes tests/golden/align.json; needs torch and trl

The numbers are those of TRL's own functions, called on stored log-probabilities: GRPOTrainer._compute_loss,
RLOOTrainer._compute_loss, DPOTrainer._compute_loss, KTOTrainer._compute_loss, CPOTrainer.cpo_loss and
ORPOTrainer.odds_ratio_loss. "grad" is that of the loss in each log-probability. Advantages are TRL's lines, in torch.
"""
import collections
import json
import math
import pathlib
import types
from unittest.mock import MagicMock

import torch
from trl import DPOTrainer, GRPOTrainer, RLOOTrainer, KTOTrainer
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "align.json"
torch.set_default_dtype(torch.float64)
torch.manual_seed(7)

LENGTHS = [5, 1, 7, 3, 2, 6]        # of the answers, their end token among them
N, LONGEST = len(LENGTHS), 7
MASK = torch.tensor([[float(t < n) for t in range(LONGEST)] for n in LENGTHS])


def accelerator():
    a = MagicMock()
    a.gather = a.gather_for_metrics = a.unwrap_model = lambda x: x
    a.reduce = lambda x, reduction=None: x
    a.num_processes, a.device, a.sync_gradients = 1, "cpu", True
    return a


class Fake(types.SimpleNamespace):
    """What a trainer's loss asks of its trainer."""

    def __init__(self, **k):
        super().__init__(accelerator=accelerator(), aux_loss_enabled=False, _entropy_bonus_enabled=False,
                         use_vllm=False, vllm_importance_sampling_correction=False, top_entropy_quantile=1.0,
                         off_policy_mask_threshold=None, current_gradient_accumulation_steps=1, max_completion_length=9,
                         model=types.SimpleNamespace(training=True),
                         _metrics={"train": collections.defaultdict(list)}, **k)


def policy_case(name, logp, old, ref, adv, cls=GRPOTrainer, **k):
    """k as TRL calls it; args besides."""
    x = logp.clone().requires_grad_()
    args = types.SimpleNamespace(delta=k.pop("delta", None), use_bias_correction_kl=False, steps_per_generation=1)
    fake = Fake(args=args, **k)
    fake._get_per_token_logps_and_entropies = lambda *a, **b: (x, torch.zeros_like(x), None)
    ids = torch.zeros(N, 2, dtype=torch.long)
    inputs = dict(prompt_ids=ids, prompt_mask=ids, completion_ids=torch.zeros(N, LONGEST, dtype=torch.long),
                  completion_mask=MASK, advantages=adv, num_items_in_batch=MASK.sum(), ref_per_token_logps=ref)
    if old is not None:
        inputs["old_per_token_logps"] = old
        inputs["old_logps"] = (old * MASK).sum(-1)
    loss = cls._compute_loss(fake, None, inputs)
    loss.backward()
    return dict(name=name, loss=loss.item(), grad=cut(x.grad), rules=k | {"delta": args.delta},
                metrics={m: v[-1] for m, v in fake._metrics["train"].items() if m.startswith("clip_ratio")})


def cut(x):
    return [row[:n] for row, n in zip(x.tolist(), LENGTHS)]


def policies():
    logp = -torch.rand(N, LONGEST) * 3 - 0.05
    old = logp + torch.randn(N, LONGEST) * 0.3
    ref = logp + torch.randn(N, LONGEST) * 0.5
    adv = torch.randn(N)
    base = dict(importance_sampling_level="token", beta=0.0, epsilon_low=0.2, epsilon_high=0.2)
    cases = []
    for loss in ("grpo", "bnpo", "dr_grpo", "dapo"):
        cases.append(policy_case(loss, logp, old, ref, adv, **base | {"loss_type": loss}))
        cases.append(policy_case(loss + " first", logp, None, ref, adv, **base | {"loss_type": loss}))
    cases.append(policy_case("clip-higher", logp, old, ref, adv, **base | {"loss_type": "dapo", "epsilon_high": 0.28}))
    cases.append(policy_case("dual", logp, old * 2, ref, adv, **base | {"loss_type": "dapo", "delta": 1.5}))
    cases.append(policy_case("k3", logp, old, ref, adv, **base | {"loss_type": "grpo", "beta": 0.04}))
    cases.append(policy_case("cispo", logp, old, ref, adv, **base | {"loss_type": "cispo", "epsilon_high": 1.1}))
    cases.append(policy_case("gspo", logp, old, ref, adv,
                             **base | {"loss_type": "grpo", "importance_sampling_level": "sequence"}))
    cases.append(policy_case("rloo", logp, old, ref, adv, cls=RLOOTrainer, epsilon_low=0.2, epsilon_high=0.2))
    return dict(logp=cut(logp), old=cut(old), old2=cut(old * 2), ref=cut(ref), advantage=adv.tolist(), max_length=9,
                cases=cases)


class Model:
    def __init__(self, log_probs):
        shape = log_probs.shape
        self.out = types.SimpleNamespace(log_probs=log_probs, entropy=torch.zeros(shape),
                                         mean_logits=torch.zeros(shape), is_top1=torch.zeros(shape).bool(),
                                         log_sum_sq_probs=torch.zeros(shape))

    def __call__(self, **k):
        return self.out


def dpo_case(loss_type, logp, ref, beta, smoothing=0.0):
    """Three pairs: answers 0-2 are chosen over 3-5."""
    x = logp.clone().requires_grad_()
    fake = Fake(ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_types=[loss_type],
                loss_weights=[1.0], beta=beta, label_smoothing=smoothing, use_weighting=False,
                args=types.SimpleNamespace(), _total_train_tokens=0, _tp_size=1)
    mask = torch.cat([torch.zeros(N, 1), MASK], 1)
    sums = (ref * MASK).sum(1)
    inputs = dict(input_ids=torch.zeros(N, LONGEST + 1, dtype=torch.long), attention_mask=mask, completion_mask=mask,
                  ref_chosen_logps=sums[:3], ref_rejected_logps=sums[3:])
    loss = DPOTrainer._compute_loss(fake, Model(x * MASK), inputs, False)
    loss.backward()
    return loss, x.grad


def kto_case(logp, ref, kl, kl_ref, labels, beta, good, bad):
    x = logp.clone().requires_grad_()
    fake = Fake(precompute_ref_logps=True, calculate_KL=True, loss_type="kto", beta=beta, desirable_weight=good,
                undesirable_weight=bad, args=types.SimpleNamespace(), _total_train_tokens=0, _tp_size=1,
                _compute_kl_logps=lambda m, b: kl)
    mask = torch.cat([torch.zeros(N, 1), MASK], 1)
    inputs = dict(input_ids=torch.zeros(N, LONGEST + 1, dtype=torch.long), attention_mask=mask, completion_mask=mask,
                  label=torch.tensor(labels), ref_logps=(ref * MASK).sum(1), ref_KL_logps=kl_ref)
    loss = KTOTrainer._compute_loss(fake, Model(x * MASK), inputs, False)
    loss.backward()
    return loss, x.grad


def offline():
    logp = -torch.rand(N, LONGEST) * 2 - 0.05
    ref = logp + torch.randn(N, LONGEST) * 0.4
    n = torch.tensor(LENGTHS)
    cases = []

    def add(name, pair, **k):
        cases.append(dict(name=name, loss=pair[0].item(), grad=cut(pair[1] * MASK), **k))
    for beta in (0.1, 0.7):
        add("dpo", dpo_case("sigmoid", logp, ref, beta), beta=beta)
        add("ipo", dpo_case("ipo", logp, ref, beta), beta=beta)
        x = logp.clone().requires_grad_()
        mean = (x * MASK).sum(1) / n
        losses, _, _ = CPOTrainer.cpo_loss(Fake(alpha=0.0, loss_type="simpo", beta=beta, simpo_gamma=0.5,
                                                label_smoothing=0.0), mean[:3], mean[3:])
        losses.mean().backward()
        add("simpo", (losses.mean(), x.grad), beta=beta, gamma=0.5)
        x = logp.clone().requires_grad_()
        mean = (x * MASK).sum(1) / n
        real = torch.Tensor.float           # TRL's function would round to float32
        torch.Tensor.float = lambda t: t
        losses, *_ = ORPOTrainer.odds_ratio_loss(Fake(beta=beta), mean[:3], mean[3:])
        torch.Tensor.float = real
        loss = -mean[:3].mean() - losses.mean()
        loss.backward()
        add("orpo", (loss, x.grad), beta=beta)
        x = logp.clone().requires_grad_()       # cDPO: TRL 1.16 has it no more; its formula of 0.9
        u = ((x - ref) * MASK).sum(1)
        d = beta * (u[:3] - u[3:])
        loss = (-0.9 * torch.nn.functional.logsigmoid(d) - 0.1 * torch.nn.functional.logsigmoid(-d)).mean()
        loss.backward()
        add("cdpo", (loss, x.grad), beta=beta, smoothing=0.1)
    labels = [True, False, False, True, True, False]
    kl, kl_ref = -torch.rand(N) * 4, -torch.rand(N) * 4 - 1
    for shift in (0.0, 3.0):                    # z above 0, and at it
        add("kto", kto_case(logp, ref, kl - shift, kl_ref, labels, 0.3, 1.0, 1.3), beta=0.3, good=1.0, bad=1.3,
            kl=(kl - shift).tolist(), kl_ref=kl_ref.tolist(), labels=labels)
    return dict(logp=cut(logp), ref=cut(ref), cases=cases)


def advantages():
    r = torch.tensor([0.3, -1.2, 2.5, 0.3, 0.9])
    out = []
    for known in ([1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 1, 0, 0]):
        k = torch.tensor(known, dtype=torch.bool)
        x = torch.where(k, r, torch.nan)
        n = k.sum()
        mean = torch.nanmean(x)
        sd = torch.sqrt(torch.nansum((x - mean) ** 2) / (n - 1)) if n > 1 else torch.tensor(0.0)
        rloo = x - (torch.nansum(x) - x) / (n - 1) if n > 1 else torch.zeros(5)
        zero = lambda y: torch.nan_to_num(y, nan=0.0).tolist()
        out.append(dict(reward=r.tolist(), known=known, rloo=zero(rloo),
                        grpo=zero((x - mean) / (sd + 1e-4)) if n > 1 else [0.0] * 5,
                        dr_grpo=zero(x - mean) if n > 1 else [0.0] * 5))
    T, gamma, lam = 6, 0.97, 0.9
    reward, value = torch.randn(T), torch.randn(T)
    adv, last = [0.0] * T, 0.0
    for t in reversed(range(T)):                # TRL PPO's lines
        nxt = value[t + 1] if t < T - 1 else 0.0
        last = reward[t] + gamma * nxt - value[t] + gamma * lam * last
        adv[t] = float(last)
    a = torch.tensor(adv)
    white = (a - a.mean()) * torch.rsqrt(a.var() + 1e-8)
    return dict(groups=out, gae=dict(reward=reward.tolist(), value=value.tolist(), gamma=gamma, lam=lam, advantage=adv,
                                     returns=(a + value).tolist(), white=white.tolist()))


# ---- Steps of a model ------------------------------------------------------------------------------------

LOSSES = dict(dpo=(0.1, 0), cdpo=(0.1, 0.1), ipo=(0.1, 0), simpo=(2.0, 1.0), orpo=(0.1, 0), kto=(0.1, 0))


def row(tokens, i, k):              # as golden_train.py makes them
    return [(tokens[(j + 7 * i) % 96] + (11 * k if j >= 40 else 0)) % 256 for j in range(60 + i)]


def answer_logp(model, ids, asked=20):
    z = model(torch.tensor([ids])).logits[0, asked - 1:-1]
    return torch.log_softmax(z, -1).gather(1, torch.tensor(ids[asked:])[:, None]).sum(), len(ids) - asked


def row_loss(kind, model, tokens, i, ref, z):
    beta, extra = LOSSES[kind]
    sig = torch.nn.functional.logsigmoid
    (w, nw), (l, nl) = (answer_logp(model, row(tokens, i, k)) for k in (0, 1))
    u = (w - ref[i][0]) - (l - ref[i][1])
    if kind in ("dpo", "cdpo"):
        return -(1 - extra) * sig(beta * u) - extra * sig(-beta * u)
    if kind == "ipo":
        return ((w - ref[i][0]) / nw - (l - ref[i][1]) / nl - 1 / (2 * beta)) ** 2
    if kind == "simpo":
        return -sig(beta * (w / nw - l / nl) - extra)
    if kind == "orpo":
        odds = lambda x: x - torch.log1p(-torch.exp(x))
        return -w / nw - beta * sig(odds(w / nw) - odds(l / nl))
    good = i % 2 == 0
    x = beta * (w - ref[i][0] - z)
    return (1 - torch.sigmoid(x)) if good else 1.3 * (1 - torch.sigmoid(-x))


def mismatched(tokens, i):
    return row(tokens, i, 0)[:20] + row(tokens, (i + 1) % 6, 0)[20:]


def steps(kind):
    import transformers
    path = OUT.parent / "train" / "llama_gqa"
    tokens = json.loads((path / "tokens.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64, attn_implementation="eager")
    with torch.no_grad():
        ref = [[float(answer_logp(model, row(tokens, i, k))[0]) for k in (0, 1)] for i in range(6)]
        far = [float(answer_logp(model, mismatched(tokens, i))[0]) for i in range(6)]
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    out = dict(loss=[], norm=[])
    for s in range(4):
        batch = [(3 * s + b) % 6 for b in range(3)]
        with torch.no_grad():
            z = max(0.0, sum(float(answer_logp(model, mismatched(tokens, i))[0]) - far[i] for i in batch) / 3)
        opt.zero_grad()
        loss = sum(row_loss(kind, model, tokens, i, ref, z) for i in batch) / 3
        loss.backward()
        out["loss"].append(float(loss))
        out["norm"].append(float(torch.sqrt(sum((p.grad ** 2).sum() for p in model.parameters()))))
        opt.step()
    return out


def value_loss(v, old, ret, mask, clip):     # TRL PPO's lines, masked_mean over the answers' tokens
    near = torch.clamp(v, old - clip, old + clip)
    return 0.5 * (torch.max((v - ret) ** 2, (near - ret) ** 2) * mask).sum() / mask.sum()


def values():
    """The loss of single values, and steps of a value model: a head on the states before the tokens of an answer."""
    g = torch.Generator().manual_seed(3)
    v, old, ret = (torch.randn(12, generator=g) for _ in range(3))
    x = v.clone().requires_grad_()
    value_loss(x, old, ret, torch.ones(12), 0.2).backward()
    import transformers
    path = OUT.parent / "train" / "llama_gqa"
    tokens = json.loads((path / "tokens.json").read_text())
    model = transformers.AutoModel.from_pretrained(path, dtype=torch.float64, attn_implementation="eager")
    head = torch.nn.Parameter(0.1 * torch.sin(torch.arange(48.0) + 1))
    params = list(model.parameters()) + [head]
    opt = torch.optim.AdamW(params, lr=1e-3, weight_decay=0)
    out = dict(loss=[], norm=[])
    for s in range(4):
        total, n = 0, sum(40 + (3 * s + b) % 6 for b in range(3))
        opt.zero_grad()
        for i in ((3 * s + b) % 6 for b in range(3)):
            ids = row(tokens, i, 0)
            t = torch.arange(float(len(ids) - 20))
            at = model(torch.tensor([ids])).last_hidden_state[0, 19:-1] @ head
            total = total + value_loss(at, 0.5 * torch.cos(t + i), torch.sin(0.3 * t + i), torch.ones(len(t)),
                                       0.2) * len(t) / n
        total.backward()
        out["loss"].append(total.item())
        out["norm"].append(torch.sqrt(sum((p.grad ** 2).sum() for p in params)).item())
        opt.step()
    return dict(v=v.tolist(), old=old.tolist(), returns=ret.tolist(), clip=0.2,
                grad=(x.grad * 12).tolist(), loss=value_loss(v, old, ret, torch.ones(12), 0.2).item(), steps=out)


OUT.write_text(json.dumps(dict(policies=policies(), offline=offline(), advantages=advantages(),
                               steps={k: steps(k) for k in LOSSES}, value=values())) + "\n")
