#!/usr/bin/env python3
"""mutants.py - deliberate mistakes, and whether a test says so: the test of the tests.

    scripts/mutants.py [--list] [--jobs N] [NAME or FOLDER...]

Copies what git tracks here (and what is changed of it) to a folder of its own, builds it once, and plants the mistakes
there one by one: each must make one of its tests fail, and the test must say which of its checks did. A mistake that
goes unseen, or whose text is no longer in the file, is a failure of this script. It takes about ten minutes on two
cores and is not run before each change: name the folder that you work on."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

# name, file, what stands there, what is put there instead, the tests that should mind
MUTANTS = [
    ("cores-rounded-down", "src/base/limits.c", "((n[0] - 1) / n[1] + 1)", "(n[0] / n[1])", ["base/test_limits"]),
    ("random-below-too-far", "src/base/random.c", "return (size_t)(x % n);", "return (size_t)(x % (n + 1));",
     ["base/test_base"]),
    ("trim-on-the-left-alone", "src/jinja/filters.c", "arg[0].s : NULL, true, true));",
     "arg[0].s : NULL, true, false));", ["jinja/test_jinja"]),
    ("loops-count-from-one", "src/jinja/attr.c", "l->index0 + left[i].add", "l->index0 + left[i].add + 1",
     ["jinja/test_jinja"]),
    ("merge-takes-the-last-of-equals", "src/text/bpe.c", "if (s[i].rank < s[best].rank)",
     "if (s[i].rank <= s[best].rank)", ["text/test_tokenizer"]),
    ("unknown-words-never-fuse", "src/text/bpe.c", "ok = !waiting || t->fuse_unk || add_symbol(e, t->unk);",
     "ok = !waiting || add_symbol(e, t->unk);", ["text/test_tokenizer"]),
    ("turns-wait-for-long-pieces", "src/tensor/device.c", "cut.most = cut.unit;", "cut.unit += 0;",
     ["tensor/test_device"]),
    ("q8-scale", "src/tensor/quantize.c", "d = most / 127;", "d = most / 128;", ["tensor/test_dtype"]),
    ("gguf-tensor-past-the-end", "src/file/gguf.c", "t->bytes > size - offset[i])", "t->bytes > size)",
     ["file/test_weights"]),
    ("gguf-alignment-ignored", "src/file/gguf.c", "*out = (size_t)a;", "*out = 32;", ["file/test_weights"]),
    ("norm-without-its-bias", "src/op/rmsnorm_ref.c", "y[c] = x[c] * rn * (norm->w[c] + norm->bias);",
     "y[c] = x[c] * rn * norm->w[c];",
     ["op/test_rmsnorm"]),
    ("sixteen-bits-added-up-too-long", "src/op/digits.inc", "(size_t)1 << (7 - bits)", "(size_t)1 << (8 - bits)",
     ["op/test_digits"]),
    ("product-chosen-for-the-rows-at-hand", "src/cuda/matmul.c", "*(p->tb ? &asked.k : &asked.n) = PIN_ROWS;",
     "(void)PIN_ROWS;", ["op/test_products_gpu"]),
    ("pinned-memory-used-again-too-soon", "src/cuda/device.c",
     'gr_cuda_ok(g, cudaEventSynchronize(g->sent[g->half]), "copy");', ";", ["op/test_products_gpu"]),
    ("strip-rotates-a-step-less", "src/op/strip.inc", "if (4 * h == B)", "if (4 * h == 2 * B)", ["op/test_strip"]),
    ("window-one-wider", "src/op/attn_int.h", "pos - window + 1 : 0", "pos - window : 0",
     ["model/test_golden_models", "op/test_attn"]),
    ("sum-over-processes-skips-one", "src/op/rank_ref.c", "for (size_t p = 0; p < P; p++)",
     "for (size_t p = 0; p < P - (P > 1); p++)", ["op/test_rank", "comm/test_comm", "api/test_dist"]),
    ("the-last-bucket-stays-at-home", "src/comm/vectors.c", "b < v->buckets && !rc && d",
     "b + 1 < v->buckets && !rc && d", ["comm/test_comm"]),
    ("cosine-counts-the-warm-up", "src/optim/schedule.c", "at = (double)(step - warmup)", "at = (double)step",
     ["optim/test_optim"]),
    ("prefix-one-too-long", "src/model/forest.c", "gr_kv_match(f->cache, &at, token, s->len - s->ends)",
     "gr_kv_match(f->cache, &at, token, s->len - (s->len > 1 && s->ends))",
     ["model/test_same_bits", "model/test_forest"]),
    ("leaf-is-a-row-early", "src/model/forest.c", "s->row + s->len - s->cached - 1;",
     "s->row + (s->len - s->cached > 1 ? s->len - s->cached - 2 : 0);", ["model/test_forest"]),
    ("experts-overwrite-each-other", "src/model/routed.c", "r->place[slot] = i;", "r->place[slot] = i / k * k;",
     ["model/test_golden_models", "model/test_trainee"]),
    ("rank-stabilised-scale-is-plain", "src/model/lora.c", "root ? sqrt((double)rank) : (double)rank", "(double)rank",
     ["model/test_lora", "api/test_lora"]),
    ("end-allowed-a-token-early", "src/generate/sample.c", "text.n_answer < s->min_new",
     "text.n_answer + 1 < s->min_new", ["generate/test_sample", "generate/test_write"]),
    ("stop-across-pieces-missed", "src/generate/stop.c", "size_t reach = newest + longest(s)", "size_t reach = newest",
     ["generate/test_write"]),
    ("margin-with-the-wrong-sign", "src/data/forms.c", "out->margin = up - down;", "out->margin = down - up;",
     ["data/test_rows"]),
    ("smoothing-on-one-side", "src/reward/loss.c", "return soft * (1 - smoothing) + (1 - soft) * smoothing;",
     "return soft * (1 - smoothing);", ["reward/test_loss"]),
    ("tournament-turns-ties", "src/reward/rank.c", "+ from[m[k].b]] >= 0.5;", "+ from[m[k].b]] > 0.5;",
     ["reward/test_rank"]),
    ("clip-is-always-one", "src/train/loop.c", "return clip > 0 && norm > clip ? clip / norm : 1;",
     "return clip > 0 && norm > 1 ? 1 / norm : 1;", ["api/test_options"]),
    ("margin-scale-unused", "src/train/set_row.c", "rules->loss.margin_scale * row->margin", "row->margin",
     ["api/test_options"]),
    ("a-tie-keeps-its-margin", "src/train/set_row.c", "&& !row->tie && !isnan(row->margin)", "&& !isnan(row->margin)",
     ["api/test_options"]),
    ("warm-up-rounded-down", "src/train/loop.c", "(uint64_t)ceil(o->warmup", "(uint64_t)floor(o->warmup",
     ["api/test_options"]),
    ("held-out-a-step-late", "src/train/metrics_file.c", "const gr_metric metric = { step, true,",
     "const gr_metric metric = { step + 1, true,", ["train/test_state"]),
    ("infinite-weights-are-kept", "src/train/state.c", "if (!isfinite(x[k % SOME]))", "if (isnan(x[k % SOME]))",
     ["train/test_state"]),
    ("merge-takes-the-plain-scale", "src/model/lora_find.c", "gr_lora_rank(f), a->cfg.root)",
     "gr_lora_rank(f), false)", ["api/test_lora"]),
    ("digest-without-weights", "src/train/set.c",
     "    s->digest = gr_digest(s->digest, &e->weight, sizeof e->weight);\n", "", ["train/test_state"]),
    ("two-checkpoints-whatever-is-asked", "src/train/checkpoints.c", "i < c->keep &&", "i < 2 &&",
     ["train/test_state"]),
    ("a-tie-beside-text-costs", "src/train/grad_scalar.c", "if (!learnt(b, i))", "if (false)", ["train/test_train"]),
    ("new-adapters-stay-asleep", "src/train/check.c", "    wake_adapters(c);\n", "", ["train/test_check"]),
    ("penalty-of-a-length-in-tokens", "src/align/worth.c", "(double)x->n / (double)o->max_new", "(double)x->n",
     ["api/test_align_numbers"]),
    ("running-mean-of-the-last-rollout", "src/align/worth.c", "(mean - carried[0]) * known / (carried[1] + known)",
     "(mean - carried[0])", ["api/test_align_numbers"]),
    ("replaced-prompts-come-again", "src/align/refill.c", "carried[3] += (double)n;", "carried[3] = (double)n;",
     ["api/test_align_numbers"]),
    ("gamma-for-lambda", "src/align/value.c", "gr_align_opt(a)->gae_gamma, gr_align_opt(a)->gae_lambda",
     "gr_align_opt(a)->gae_lambda, gr_align_opt(a)->gae_gamma", ["align/test_advantage"]),
    ("cut-answers-are-counted-as-ended", "src/align/numbers.c", "(all->n - ended->n) / all->n", "ended->n / all->n",
     ["api/test_align_numbers"]),
    ("interval-too-wide", "src/eval/metrics.c", "z2 / (4 * n)) / (1 + z2)", "z2 / (2 * n)) / (1 + z2)",
     ["eval/test_metrics"]),
    ("temperatures-of-twice-the-interval", "src/eval/temperature.c", "3.841458820694124 / 2 /", "3.841458820694124 /",
     ["eval/test_temperature"]),
    ("gain-with-the-wrong-sign", "src/eval/bon.c", "put(c, GAIN, p, i, x - random);", "put(c, GAIN, p, i, random - x);",
     ["eval/test_bon"]),
    ("resume-takes-any-row", "src/api/job.c", "(!j->written || !strcmp(j->written, id))", "true",
     ["e2e/score.sh"]),
    ("resume-takes-any-text", "src/api/job.c", "if (!rc && then != digest)", "if (!rc && then == 1)",
     ["api/test_files", "api/test_generate"]),
    ("criteria-are-not-compared", "src/data/rows.c", "add_text(add_text(GR_DIGEST, p.tools), p.criteria)",
     "add_text(GR_DIGEST, p.tools)", ["api/test_files"]),
    ("lines-without-a-digest-stay", "src/api/job.c", "rc = gr_out_keep(j->out, j->report->resumed, err);", ";",
     ["api/test_files"]),
    ("broken-text-ends-the-others", "src/serve/texts.c", "if (++st->broken == st->prompts * st->how.n",
     "if (++st->broken <= st->prompts * st->how.n", ["serve/test_shapes", "serve/test_chats"]),
    ("unknown-field-left-unread", "src/serve/fields.c", "if (json_is_null(v) || is_known(p, name))",
     "if (json_is_null(v) || is_known(p, name) || p)", ["serve/test_rollouts"]),
    ("completion-loses-its-first-space", "src/api/writer.c", "ask.goes_on = o->id && is_text(",
     "ask.goes_on = !o->id && is_text(", ["api/test_archs"]),
    ("key-compared-by-its-end", "src/serve/auth.c", "differ |= a[i] ^ b[i];", "differ = a[i] ^ b[i];",
     ["serve/test_http"]),
    ("odd-vote-for-the-first-seat", "src/rationale/reason.c", "p->turned && !r->opt.single_order ? j ^ 1 : j", "j",
     ["rationale/test_rationale"]),
    ("one-order-with-the-better-first", "src/reward/score.c", "pair[i].turned ? &turned", "false ? &turned",
     ["api/test_rationale"]),
    ("first-in-the-list-has-the-first-seat", "src/api/score.c", "j < n && gram_pair_draw(&out[k])", "false",
     ["api/test_rationale"]),
    ("config-samples-from-all", "src/api/generation_config.c", "t->g->top_k = TOP_K;", "t->g->top_k = 0;",
     ["api/test_generate"]),
    ("prompt-without-the-answers-turns", "src/data/rows.c", "gr_forms_talk(row) ? GRAM_OK : ", "",
     ["data/test_rows"]),
    ("proofs-at-the-judges-temperature", "src/api/selftrain.c", "p.temperature = r->o->proof_temperature;",
     "p.temperature = r->o->temperature;", ["api/test_selftrain"]),
    ("embedding-in-four-bits", "src/api/convert.c", "return ends && gr_dtype_block(want) > 1 ? GR_Q8_0 : want;",
     "return want;", ["api/test_convert"]),
    ("resume-forgets-rows-without-a-winner", "src/api/bon.c",
     "        count_line(r->report, o);\n        json_decref(o);", "        json_decref(o);", ["api/test_bon"]),
    ("presence-for-frequency", "src/cli/generation.c", "&g->presence_penalty,\n                           "
     "&g->frequency_penalty }", "&g->frequency_penalty,\n                           &g->presence_penalty }",
     ["e2e/settings.sh"]),
    ("both-orders-shown", "src/cli/cmd_score.c", "cli_single_order ? 1 : 2", "2", ["e2e/score.sh"]),
    ("usage-errors-end-with-1", "src/cli/cli.h", "CLI_USAGE = 2", "CLI_USAGE = 1", ["e2e/lora.sh"]),
    ("winner-where-orders-disagree", "web/verdict.js", "if (v.flipped)", "if (false)", ["e2e/serve_page.sh"]),
    ("refused-row-gets-a-number", "python/gram/client.py", "out.extend([None] * (end - start))",
     "out.extend([0.0] * (end - start))", ["e2e/serve.sh"]),
]


LIMIT = 300                         # seconds: no test takes a tenth of it, and some mistakes are waits without an end


def run(command, cwd, limit=None, **more):
    """The command with what it printed; one that takes longer is ended with its children, and its status is None."""
    with tempfile.TemporaryFile("w+", errors="replace") as said, subprocess.Popen(
            command, cwd=cwd, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            **more) as child:
        try:
            status = child.wait(limit)
        except subprocess.TimeoutExpired:
            child.kill()
            subprocess.run(["pkill", "-KILL", "-f", f"^{re.escape(cwd)}/"], check=False)  # processes that it started
            status = None
        said.seek(0)
        return subprocess.CompletedProcess(command, status, said.read())


def copy_tree(root, to):
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root,
                           check=True, stdout=subprocess.PIPE).stdout.decode()
    for name in filter(None, names.split("\0")):
        if os.path.isfile(os.path.join(root, name)):
            os.makedirs(os.path.dirname(os.path.join(to, name)), exist_ok=True)
            shutil.copy2(os.path.join(root, name), os.path.join(to, name))


def program(test):
    return "tests/" + test if test.endswith(".sh") else "build/tests/" + test


def there(tree, tests):
    """Those of the tests that this tree has."""
    return [t for t in tests if os.path.exists(os.path.join(tree, "tests", t if t.endswith(".sh") else t + ".c"))]


def make(tree, jobs, tests):
    targets = ["build/gram", "build/tests/serve/fake_server"] if any(t.endswith(".sh") for t in tests) else []
    return run(["make", f"-j{jobs}", *targets, *(program(t) for t in tests if not t.endswith(".sh"))], tree)


def what_failed(output):
    """The check that a test program or script names."""
    found = re.findall(r"^\[  FAILED  \] (\w+)$|^\S*\.sh: (.+)$|^FAILED: (.+)$", output, re.M)
    return next((word for group in found for word in group if word), None)


def kill(tree, jobs, tests):
    """The name of the check that minds, and all that was printed; None where no test does."""
    built = make(tree, jobs, tests)
    if built.returncode:
        return None, "it does not compile:\n" + built.stdout[-2000:]
    said = ""
    for test in tests:
        ran = run([os.path.join(tree, program(test))], tree, limit=LIMIT, env={**os.environ, "B": "build"})
        said += ran.stdout
        if ran.returncode is None:              # which run_tests.sh counts as a failure, too
            return f"{test}, which does not end", said
        if ran.returncode not in (0, 77):
            name = what_failed(ran.stdout)
            return (f"{test}: {name}", said) if name else (None, f"{test} ends with {ran.returncode} and names nothing")
    return None, "no test minds"


def plant(tree, jobs, mutant):
    name, path, old, new, tests = mutant
    full = os.path.join(tree, path)
    tests = there(tree, tests)
    if not os.path.exists(full):
        return None, f"{path} is not there"
    with open(full, encoding="utf-8") as f:
        text = f.read()
    if text.count(old) != 1:
        return None, f"{path} has {text.count(old)} places that say: {old}"
    if not tests:
        return None, "none of its tests is there"
    try:
        with open(full, "w", encoding="utf-8") as f:
            f.write(text.replace(old, new))
        return kill(tree, jobs, tests)
    finally:
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--jobs", default=os.cpu_count())
    parser.add_argument("wanted", nargs="*")
    args = parser.parse_args()
    chosen = [m for m in MUTANTS if not args.wanted or any(w == m[0] or w in m[1].split("/") for w in args.wanted)]
    if args.list or not chosen:
        for m in chosen or MUTANTS:
            print(f"{m[0]:34} {m[1]}")
        return 0 if chosen else 2
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    tree = tempfile.mkdtemp(prefix="gram-mutants-")
    try:
        copy_tree(root, tree)
        every = sorted({t for m in chosen for t in there(tree, m[4])})
        built = make(tree, args.jobs, every)
        if built.returncode:
            sys.exit(built.stdout[-4000:] + "\nit does not build")
        unseen = 0
        for m in chosen:
            name, said = plant(tree, args.jobs, m)
            unseen += name is None
            print(f"{m[0]:34} {'seen by ' + name if name else 'NOT SEEN: ' + said}", flush=True)
        print(f"{len(chosen) - unseen} passed, {unseen} failed")
        return unseen > 0
    finally:
        shutil.rmtree(tree, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
