#!/usr/bin/env python3
"""golden_ops.py - inputs of each op and what PyTorch's autograd says of them.

    python3 scripts/golden_ops.py           writes tests/golden/ops/backward.json and route.json

{"torch": version, "cases": [{"op": name, "par": {name: number}, "in": {name: [numbers]}, "want": {name: [numbers]}}]}
Inputs are float32 numbers of few digits, so that JSON holds them exactly; the gradients are computed in double and
printed with nine digits. Arrays are dense and row by row, shaped as the op's header in src/op/ says.

route.json, a list: for E logits z, some or all of them equal, the k experts that torch.topk() chooses of their softmax
in float32, by their numbers, their weights, divided by their sum where norm, and for dw the gradient dz.
"""
import json
import pathlib

import torch
import torch.nn.functional as F

ROUTE = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "ops" / "route.json"
OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "ops" / "backward.json"


def randn(*shape, spread=1.0):
    """Multiples of 1/64."""
    return ((torch.randn(*shape, dtype=torch.float64) * spread * 64).round() / 64).requires_grad_()


def flat(t):
    return [float(f"{x:.9g}") for x in t.detach().flatten().tolist()]


def case(op, y, dy, par, given, grads, more=None):
    """grads: {name of the gradient: tensor it is of}."""
    g = torch.autograd.grad(y, list(grads.values()), dy)
    want = {name: flat(t) for name, t in zip(grads, g)} | {name: flat(t) for name, t in (more or {}).items()}
    return {"op": op, "par": par, "in": {name: flat(t) for name, t in given.items()}, "want": want}


def rmsnorm(N, C, bias):
    x, w, dy, eps = randn(N, C), randn(C), randn(N, C), 2.0 ** -10
    r = torch.rsqrt(x.pow(2).mean(-1) + eps)
    y = F.rms_norm(x, (C,), w + bias, eps)
    return case("rmsnorm", y, dy, {"N": N, "C": C, "bias": bias}, {"x": x, "w": w, "dy": dy, "r": r},
                {"dx": x, "dw": w})


def glu(name, N, n, act):
    gate, up, dy = randn(N, n, spread=3), randn(N, n), randn(N, n)
    return case(name, act(gate) * up, dy, {"N": N, "F": n}, {"gate": gate, "up": up, "dy": dy},
                {"dgate": gate, "dup": up})


def cross_entropy(V, targets, weights):
    """Weighted rows; -1 has no loss."""
    z = randn(len(targets), V, spread=3)
    t = torch.tensor(targets)
    loss = F.cross_entropy(z, t, ignore_index=-1, reduction="none")
    return case("ce", loss, torch.tensor(weights, dtype=torch.float64), {"N": len(targets), "V": V},
                {"z": z, "t": t, "wt": torch.tensor(weights)}, {"dz": z}, {"loss": loss})


def linear(M, O, K):
    x, w, b, dy = randn(M, K), randn(O, K), randn(O), randn(M, O)
    return case("linear", F.linear(x, w, b), dy, {"M": M, "O": O, "K": K}, {"x": x, "w": w, "dy": dy},
                {"dx": x, "dw": w, "db": b})


def attention(T, D, G, window, scale):
    """One key/value head; q, o and dy are [T, G*D]."""
    q, k, v, dy = randn(T, G * D), randn(T, D), randn(T, D), randn(T, G * D)
    i, j = torch.arange(T)[:, None], torch.arange(T)[None, :]
    seen = (j <= i) & ((i - j < window) if window else torch.ones(T, T, dtype=torch.bool))
    heads = q.view(T, G, D).transpose(0, 1)
    o = F.scaled_dot_product_attention(heads, k.expand(G, T, D), v.expand(G, T, D), seen, scale=scale)
    return case("attn", o.transpose(0, 1).reshape(T, G * D), dy,
                {"T": T, "D": D, "G": G, "window": window, "scale": scale},
                {"q": q, "k": k, "v": v, "dy": dy}, {"dq": q, "dk": k, "dv": v})


def rope(N, H, D, interleaved):
    """The table's cos and sin are inputs, so that only the turn is judged."""
    x, dy, table = randn(N, H, D), randn(N, H, D), randn(N, D)
    cos, sin = table[:, None, :D // 2], table[:, None, D // 2:]
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :D // 2], x[..., D // 2:])
    a, b = a * cos - b * sin, a * sin + b * cos
    y = torch.stack((a, b), -1).flatten(-2) if interleaved else torch.cat((a, b), -1)
    return case("rope", y, dy, {"N": N, "H": H, "D": D, "interleaved": int(interleaved)}, {"dy": dy, "table": table},
                {"dx": x})


def route(E, k, kinds, norm):
    """The logits are of so many kinds, so that the k-th often equals others."""
    z = torch.randint(kinds, (E,)).double() / 4 if kinds else randn(E).detach()
    z.requires_grad_()
    chosen = torch.topk(z.detach().float().softmax(-1), k).indices.sort().values
    w = z.softmax(-1)[chosen]
    w = w / w.sum() if norm else w
    dw = randn(k).detach()
    dz, = torch.autograd.grad(w, z, dw)
    return {"E": E, "k": k, "norm": int(norm), "z": flat(z), "chosen": chosen.tolist(), "w": flat(w), "dw": flat(dw),
            "dz": flat(dz)}


def routes():
    sizes = [(1, 1), (2, 1), (3, 2), (4, 4), (5, 2), (8, 2), (9, 3), (16, 4), (60, 4), (64, 1), (64, 6), (128, 2),
             (128, 8), (160, 1), (192, 3), (256, 8)]
    return [route(E, k, kinds, i % 2) for i, (E, k) in enumerate(sizes) for kinds in (1, 2, 3, 12, 0)]


def main():
    torch.manual_seed(1)
    cases = [
        rmsnorm(3, 19, 0), rmsnorm(2, 37, 1),
        rope(3, 2, 10, False), rope(3, 2, 12, True),
        glu("swiglu", 2, 41, F.silu), glu("geglu", 2, 41, lambda g: F.gelu(g, approximate="tanh")),
        cross_entropy(53, [52, -1, 0, 17], [1.0, 0.5, -0.25, 2.0]),
        linear(5, 21, 18),
        attention(21, 12, 2, 0, 0.25), attention(23, 9, 3, 6, 0.5),
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    ROUTE.write_text("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in routes()) + "\n]\n")
    OUT.write_text(f'{{"torch": "{torch.__version__}", "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
